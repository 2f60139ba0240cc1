/* flow/qvec.h - the question as a vector. */
#ifndef RAGD_FLOW_QVEC_H
#define RAGD_FLOW_QVEC_H

#include <stdint.h>

struct qvec {
    const float *v; /* dims floats of unit length in the ask's arena; NULL: the dense leg does not run */
    uint32_t dims;
    uint32_t slot;      /* which of the segments' blocks it is compared with */
    /* Its tokens that say something, for late interaction: n_tokens x dims states as the encoder gives them, and how much
     * each weighs. 0: none. */
    const float *token_states, *token_weights;
    uint32_t n_tokens;
    const char *why_not; /* why there is none: "no model", "off", ...; NULL when there is one */
};

#endif
