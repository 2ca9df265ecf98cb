; What compiled kernels ask numba's runtime and the C library for, in LLVM's own language, so that it
; is compiled for the same instruction set as they. The 64-bit word at 0x30000000 is the address of
; free memory. Nothing is ever freed: a machine serves one call, and then forgets its memory.

; numba's MemInfo is 48 bytes: a count of references first, the address of the data at byte 24.
define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %alignment) {
  %free = load i64, ptr inttoptr (i64 805306368 to ptr)
  %info = inttoptr i64 %free to ptr
  %behind = add i64 %free, 127
  %start = and i64 %behind, -64
  %data = inttoptr i64 %start to ptr
  store i64 1, ptr %info
  %place = getelementptr i8, ptr %info, i64 24
  store ptr %data, ptr %place
  %stop = add i64 %start, %size
  %above = add i64 %stop, 63
  %next = and i64 %above, -64
  store i64 %next, ptr inttoptr (i64 805306368 to ptr)
  ret ptr %info
}

define void @NRT_MemInfo_call_dtor(ptr %info) {
  ret void
}

; numba reshapes contiguous arrays alone, so the new strides follow from the new lengths.
define i32 @numba_attempt_nocopy_reshape(i64 %nd, ptr %dims, ptr %strides, i64 %newnd, ptr %newdims,
                                         ptr %newstrides, i64 %itemsize, i32 %is_f_order) {
  br label %test
test:
  %left = phi i64 [ %newnd, %0 ], [ %axis, %set ]
  %stride = phi i64 [ %itemsize, %0 ], [ %wider, %set ]
  %is_done = icmp eq i64 %left, 0
  br i1 %is_done, label %done, label %set
set:
  %axis = sub i64 %left, 1
  %place = getelementptr i64, ptr %newstrides, i64 %axis
  store i64 %stride, ptr %place
  %length_place = getelementptr i64, ptr %newdims, i64 %axis
  %length = load i64, ptr %length_place
  %wider = mul i64 %stride, %length
  br label %test
done:
  ret i32 1
}

declare double @llvm.sqrt.f64(double)

define double @sqrt(double %x) {
  %root = call double @llvm.sqrt.f64(double %x)
  ret double %root
}

; optnone: else the optimiser would see what these loops do, and call themselves.
define ptr @memset(ptr %start, i32 %value, i64 %size) noinline optnone {
  %byte = trunc i32 %value to i8
  br label %test
test:
  %i = phi i64 [ 0, %0 ], [ %after, %set ]
  %is_left = icmp ult i64 %i, %size
  br i1 %is_left, label %set, label %done
set:
  %place = getelementptr i8, ptr %start, i64 %i
  store i8 %byte, ptr %place
  %after = add i64 %i, 1
  br label %test
done:
  ret ptr %start
}

define ptr @memcpy(ptr %to, ptr %from, i64 %size) noinline optnone {
  br label %test
test:
  %i = phi i64 [ 0, %0 ], [ %after, %copy ]
  %is_left = icmp ult i64 %i, %size
  br i1 %is_left, label %copy, label %done
copy:
  %source = getelementptr i8, ptr %from, i64 %i
  %byte = load i8, ptr %source
  %place = getelementptr i8, ptr %to, i64 %i
  store i8 %byte, ptr %place
  %after = add i64 %i, 1
  br label %test
done:
  ret ptr %to
}
