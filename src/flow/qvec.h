/* flow/qvec.h - the question as a vector. */
#ifndef RAGD_FLOW_QVEC_H
#define RAGD_FLOW_QVEC_H

#include <stdint.h>

struct qvec {
    const float *v; /* dims floats of unit length in the ask's arena; NULL: the dense leg does not run */
    uint32_t dims;
    uint32_t slot;      /* which of the segments' blocks it is compared with */
    const char *why_not; /* why there is none: "no model", "off", ...; NULL when there is one */
};

#endif
