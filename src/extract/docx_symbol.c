#include "extract/docx_symbol.h"

#include <stdlib.h>
#include <strings.h>

static void put_code_point(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        buf_addc(b, (char)c);
    } else if (c < 0x800) {
        buf_add(b, (char[]){(char)(0xC0 | c >> 6), (char)(0x80 | (c & 63))}, 2);
    } else {
        buf_add(b, (char[]){(char)(0xE0 | c >> 12), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))},
                3);
    }
}

void docx_symbol(struct buf *out, struct str font, struct str hex)
{
    static const char *const greek[2] = {"ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", "αβχδεφγηιϕκλμνοπθρστυϖωξψζ"};
    static const struct {
        bool wingdings;
        unsigned char code;
        const char *text;
    } known[] = {
        {false, 0xA3, "≤"}, {false, 0xA5, "∞"}, {false, 0xAB, "↔"}, {false, 0xAC, "←"}, {false, 0xAE, "→"},
        {false, 0xB0, "°"}, {false, 0xB1, "±"}, {false, 0xB3, "≥"}, {false, 0xB4, "×"}, {false, 0xB7, "•"},
        {false, 0xB8, "÷"}, {false, 0xB9, "≠"}, {false, 0xBB, "≈"}, {false, 0xD6, "√"}, {false, 0xE5, "∑"},
        {true, 0x6C, "●"},  {true, 0x6E, "■"},  {true, 0x6F, "□"},  {true, 0xA8, "□"},  {true, 0xA7, "▪"},
        {true, 0xD8, "➢"},  {true, 0xDF, "←"},  {true, 0xE0, "→"},  {true, 0xFB, "✗"},  {true, 0xFC, "✓"},
        {true, 0xFD, "☒"},  {true, 0xFE, "☑"},
    };
    char text[5] = "";
    if (hex.len == 0 || hex.len > 4)
        return;
    memcpy(text, hex.ptr, hex.len);
    uint32_t c = (uint32_t)strtoul(text, NULL, 16);
    bool wingdings = font.len >= 9 && strncasecmp(font.ptr, "Wingdings", 9) == 0;
    if (!wingdings && !str_eqz(font, "Symbol")) {
        if (c >= 0x20 && (c < 0xD800 || c >= 0xF900))
            put_code_point(out, c);
        return;
    }
    c &= 0xFF;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].code == c && known[i].wingdings == wingdings)
            buf_addz(out, known[i].text);
    uint32_t letter = (c & 0x1F) - 1;
    if (!wingdings && c > 0x40 && c < 0x7B && letter < 26)
        buf_add(out, greek[c > 0x60] + 2 * letter, 2);
}
