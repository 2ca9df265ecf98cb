"""One step of MLflow, run by the interpreter of `.venv-peers`; the environment names the servers.

python mlflow_step.py create BUCKET | push FOLDER | pull RUN FOLDER
"""

import sys

import mlflow

EXPERIMENT = "adapters"


def main() -> None:
    """Do the step that the arguments name."""
    step, first, *others = sys.argv[1:]
    if step == "create":
        mlflow.create_experiment(EXPERIMENT, artifact_location=f"s3://{first}")
    elif step == "push":
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run() as run:
            mlflow.log_artifacts(first, "adapter")
        print(run.info.run_id)
    else:
        mlflow.artifacts.download_artifacts(
            run_id=first, artifact_path="adapter", dst_path=others[0]
        )


if __name__ == "__main__":
    main()
