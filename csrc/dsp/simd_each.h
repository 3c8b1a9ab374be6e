/* Includes PE_SIMD_BODY once for each instruction set that this compiler can produce, so that one binary holds them
 * all. In each turn simd.h gives the types and operations, and PE_SIMD_NAME(x) a name of its own.
 *
 * A table of them is PE_SIMD_EACH(ROW), where ROW(isa) makes a row of names that end in _##isa.
 *
 * The body is the same, so are its operations and their order, contraction is off: all of them give the same bits. */
#ifndef PE_SIMD_BODY
#error "define PE_SIMD_BODY as the name of the file to be compiled for each instruction set"
#endif

#define PE_SIMD_JOIN2(a, b) a##_##b
#define PE_SIMD_JOIN(a, b) PE_SIMD_JOIN2(a, b)
#define PE_SIMD_NAME(x) PE_SIMD_JOIN(x, PE_SIMD_ISA)

#define PE_SIMD_ISA base
#define PE_SIMD_LANES 4
#include "simd.h"
#include PE_SIMD_BODY
#undef PE_SIMD_ISA
#undef PE_SIMD_LANES

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define PE_SIMD_ISA avx2
#define PE_SIMD_LANES 8
#include "simd.h"
#include PE_SIMD_BODY
#undef PE_SIMD_ISA
#undef PE_SIMD_LANES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw")
#endif
#define PE_SIMD_ISA avx512
#define PE_SIMD_LANES 16
#include "simd.h"
#include PE_SIMD_BODY
#undef PE_SIMD_ISA
#undef PE_SIMD_LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#define PE_SIMD_EACH(ROW) {ROW(base), ROW(avx2), ROW(avx512)}
#else
#define PE_SIMD_EACH(ROW) {ROW(base)}
#endif
#undef PE_SIMD_BODY
