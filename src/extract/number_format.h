/* extract/number_format.h - a spreadsheet's number as its format shows it. */
#ifndef RAGD_EXTRACT_NUMBER_FORMAT_H
#define RAGD_EXTRACT_NUMBER_FORMAT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

/* Appends v as the format code displays it: "#,##0.00", "0.0%", "yyyy-mm-dd", "[$¥-804]0.00", `0"元"`, ... (ECMA-376
 * part 1, 18.8.31). Fractions and what we do not know are shown as General. date1904: the workbook counts days
 * from 1904. */
void number_format(struct buf *out, double v, struct str code, bool date1904);

/* The code of a built-in format id, as Chinese and English versions show it; empty: General. */
struct str number_format_builtin(unsigned id);

#endif
