/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* A recording as the sampler is given it, at the engine's rate: a head, then the samples frame by frame. pyengine/samples.py
 * writes it. Between frames it is read through 16 taps that are polynomials of the place. */
#ifndef PE_DSP_SAMPLE_H
#define PE_DSP_SAMPLE_H

#include <stdint.h>
#include <string.h>

#include "../rt.h"

#define PE_SAMPLE_MAGIC 0x31534550u /* "PES1" */
#define PE_SAMPLE_MAX_FRAMES 0x7fffff00u

typedef struct PeSampleHead {
  uint32_t magic, n_channels; /* 1 or 2 */
  uint64_t n_frames;          /* 1 at least */
  uint64_t loud_frame;        /* where it is loudest, for the warm-up */
  uint64_t reserved[5];
} PeSampleHead;
_Static_assert(sizeof(PeSampleHead) == 64, "part of the format");

typedef struct PeSample {
  const float *frames; /* [n_frames][n_channels], NULL for none */
  int64_t      n_frames;
  uint32_t     n_channels;
  int64_t      loud_frame;
} PeSample;

/* What is not a sample, or is cut off, is none. */
PE_RT_INLINE PeSample pe_sample(const void *data, uint64_t n_bytes) {
  PeSample none = {.frames = NULL, .n_channels = 1};
  if (data == NULL || n_bytes < sizeof(PeSampleHead)) return none;
  const PeSampleHead *head = data;
  if (head->magic != PE_SAMPLE_MAGIC || head->n_channels < 1 || head->n_channels > 2) return none;
  if (head->n_frames < 1 || head->n_frames > PE_SAMPLE_MAX_FRAMES || head->loud_frame >= head->n_frames) return none;
  if ((n_bytes - sizeof *head) / (sizeof(float) * head->n_channels) < head->n_frames) return none;
  return (PeSample){.frames = (const float *)(const void *)(head + 1), .n_frames = (int64_t)head->n_frames,
                    .n_channels = head->n_channels, .loud_frame = (int64_t)head->loud_frame};
}

/* ---- between frames ---------------------------------------------------------------------------------
 * Tap k, of -7 to 8, at the place f between frame 0 and frame 1: a polynomial of degree 7 in z = f - 1/2. Tap 1 - k is tap
 * k of -z. Found by least squares, iterated to a minimax, against a delay of f for frequencies up to 0.34 of the rate,
 * with the taps exact at f = 0. Error, and so images, distortion and droop: below -81 dB up to 0.34 of the rate (16.3 kHz
 * at 48 kHz), then -60 dB at 0.35, -38 dB at 0.375. */
#define PE_SAMPLE_TAPS 16
#define PE_SAMPLE_BEFORE 7 /* taps in front of frame 0 */

#define PE_TAPS_EVEN_6 {0.000620543025f, -0.00280544418f, 0.00826138817f, -0.019028794f, 0.0362839736f, -0.0548837259f, 0.0567656308f, -0.0251646433f}
#define PE_TAPS_EVEN_4 {-0.00224908907f, 0.0103151463f, -0.0309991892f, 0.0738986805f, -0.150845975f, 0.269892156f, -0.339046448f, 0.168860927f}
#define PE_TAPS_EVEN_2 {0.0029491696f, -0.0136296311f, 0.0414128751f, -0.100596584f, 0.213222995f, -0.420339108f, 0.828933835f, -0.55172801f}
#define PE_TAPS_EVEN_0 {-0.000606420333f, 0.00280654617f, -0.00854485389f, 0.0208278038f, -0.0444448143f, 0.0890740752f, -0.186930016f, 0.627771378f}
#define PE_TAPS_ODD_7 {-7.67211095e-05f, 0.000408832479f, -0.00144372205f, 0.00410973281f, -0.0101609258f, 0.0216419157f, -0.0374302715f, 0.0498512723f}
#define PE_TAPS_ODD_5 {0.000282666937f, -0.00152543723f, 0.00548694003f, -0.0161351468f, 0.0426336192f, -0.107298858f, 0.225206643f, -0.336800188f}
#define PE_TAPS_ODD_3 {-0.000371454371f, 0.00201945705f, -0.00734280935f, 0.021998331f, -0.0603472702f, 0.16733171f, -0.551623762f, 1.10234487f}
#define PE_TAPS_ODD_1 {7.63956778e-05f, -0.000415912451f, 0.00151532679f, -0.00455535064f, 0.0125809815f, -0.0354649052f, 0.124415368f, -1.25531518f}

/* The weights of the 16 taps at f, 0 to 1. */
PE_RT_INLINE void pe_sample_taps(float f, float weights[PE_SAMPLE_TAPS]) {
  static const float e6[8] = PE_TAPS_EVEN_6, e4[8] = PE_TAPS_EVEN_4, e2[8] = PE_TAPS_EVEN_2, e0[8] = PE_TAPS_EVEN_0;
  static const float o7[8] = PE_TAPS_ODD_7, o5[8] = PE_TAPS_ODD_5, o3[8] = PE_TAPS_ODD_3, o1[8] = PE_TAPS_ODD_1;
  const float z = f - 0.5f, zz = z * z;
  float even[8], odd[8];
  for (int k = 0; k < 8; k++) {
    even[k] = ((e6[k] * zz + e4[k]) * zz + e2[k]) * zz + e0[k];
    odd[k] = (((o7[k] * zz + o5[k]) * zz + o3[k]) * zz + o1[k]) * z;
  }
  for (int k = 0; k < 8; k++) {
    weights[k] = even[k] + odd[k];
    weights[15 - k] = even[k] - odd[k];
  }
}

/* The sum of 16 products in one order: four accumulators, then a tree. */
PE_RT_INLINE float pe_sample_sum(const float *x, uint32_t stride, const float weights[PE_SAMPLE_TAPS]) {
  float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (uint32_t k = 0; k < PE_SAMPLE_TAPS; k += 4)
    for (uint32_t j = 0; j < 4; j++) sums[j] += weights[k + j] * x[(k + j) * stride];
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

#endif
