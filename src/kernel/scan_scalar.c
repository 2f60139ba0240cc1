/* The specification of the scan kernels, and what runs on a CPU without its own. */
#include "kernel/scan.h"

static int32_t dot4(const struct scan_question *q, const uint8_t *row)
{
    const int8_t *low = q->q8, *high = q->q8 + q->row_bytes;
    int32_t sum = 0;
    for (size_t j = 0; j < q->row_bytes; j++)
        sum += low[j] * (row[j] & 15) + high[j] * (row[j] >> 4);
    return sum;
}

static uint64_t run(const struct scan_question *q, const uint8_t *upper, const float *scales,
                    const float *alongs, uint32_t n, float floor, float *est)
{
    uint64_t above = 0;
    for (uint32_t i = 0; i < n; i++) {
        float dot = (float)dot4(q, upper + i * q->row_bytes) + q->offset;
        est[i] = (q->base + q->along * alongs[i]) + (scales[i] * q->unit) * dot;
        above |= (uint64_t)(est[i] > floor) << i;
    }
    return above;
}

static int32_t exact(const struct scan_question *q, const uint8_t *upper, const uint8_t *lower)
{
    const int16_t *low = q->q16, *high = q->q16 + q->row_bytes;
    int32_t sum = 0;
    for (size_t j = 0; j < q->row_bytes; j++) {
        int l = (upper[j] & 15) * 16 + (lower[j] & 15) - 128,
            h = (upper[j] >> 4) * 16 + (lower[j] >> 4) - 128;
        sum += low[j] * l + high[j] * h;
    }
    return sum;
}

const struct scan_kernel scan_scalar = {"scalar", run, exact};
