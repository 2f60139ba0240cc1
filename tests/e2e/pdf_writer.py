"""Writes small real PDFs with the standard library: text in the standard fonts and in Chinese (STSong-Light through
the predefined CMap UniGB-UCS2-H), several pages, an encrypted variant, and pieces to make broken ones from.

    pdf = Pdf(title="Fees")
    page = pdf.page()
    page.text(72, 720, "Annual fee", size=18)
    page.text(72, 690, "年费每年三千六百元。")
    data = pdf.build()
"""
import hashlib
import zlib

A4 = (595, 842)
PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def rc4(key, data):
    s, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + s[i] + key[i % len(key)]) & 255
        s[i], s[j] = s[j], s[i]
    i = j = 0
    for b in data:
        i = (i + 1) & 255
        j = (j + s[i]) & 255
        s[i], s[j] = s[j], s[i]
        out.append(b ^ s[(s[i] + s[j]) & 255])
    return bytes(out)


def escaped(raw):
    return b"(" + raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)") + b")"


class Page:
    def __init__(self, size):
        self.size, self.ops, self.resources = size, [], b""

    def text(self, x, y, s, size=11, bold=False):
        """One line with its baseline at (x, y) points from the lower left corner."""
        if s.isascii():
            font, shown = ("FB" if bold else "FL"), escaped(s.encode("ascii"))
        else:
            font, shown = "FC", b"<" + s.encode("utf-16-be").hex().encode() + b">"
        self.ops.append(b"BT /%s %g Tf %g %g Td %s Tj ET" % (font.encode(), size, x, y, shown))

    def lines(self, x, y, lines, size=11, leading=None):
        """Lines below one another; returns the y below the last."""
        for line in lines:
            self.text(x, y, line, size)
            y -= leading or size * 1.25
        return y

    def raw(self, ops):
        self.ops.append(ops)


class Pdf:
    def __init__(self, title=None, compress=True):
        self.title, self.compress, self.pages, self.key = title, compress, [], None
        self.objects = [None]  # by number; None: not written yet

    def page(self, size=A4):
        self.pages.append(Page(size))
        return self.pages[-1]

    def add(self, body):
        """An indirect object; its number."""
        self.objects.append(body)
        return len(self.objects) - 1

    def add_stream(self, data, extra=b"", compress=None):
        if self.compress if compress is None else compress:
            data, extra = zlib.compress(data), extra + b" /Filter /FlateDecode"
        return self.add(b"<< /Length %d%s >>\nstream\n" % (len(data), extra) + data + b"\nendstream")

    def encrypt(self, user="secret", owner="owner"):
        """RC4 with 40 bits, as Acrobat 3 had it: opens with the password `user` only."""
        self.key = (user.encode(), owner.encode())

    def _encryption(self):
        user, owner = ((p + PADDING)[:32] for p in self.key)
        file_id = hashlib.md5(b"pdf_writer").digest()
        o = rc4(hashlib.md5(owner).digest()[:5], user)
        p = (-4).to_bytes(4, "little", signed=True)
        key = hashlib.md5(user + o + p + file_id).digest()[:5]
        u = rc4(key, PADDING)
        return key, file_id, b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (
            o.hex().encode(), u.hex().encode())

    @staticmethod
    def _encrypted(body, key, number):
        head, found, rest = body.partition(b"\nstream\n")
        if not found:
            return body
        object_key = hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()[:10]
        data = rest[: -len(b"\nendstream")]
        return head + found + rc4(object_key, data) + b"\nendstream"

    def fonts(self):
        latin = [self.add(b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>" % name)
                 for name in (b"Helvetica", b"Helvetica-Bold")]
        descriptor = self.add(b"<< /Type /FontDescriptor /FontName /STSong-Light /Flags 6 /FontBBox [0 -200 1000 900]"
                              b" /ItalicAngle 0 /Ascent 880 /Descent -120 /CapHeight 700 /StemV 80 >>")
        cid = self.add(b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /CIDSystemInfo"
                       b" << /Registry (Adobe) /Ordering (GB1) /Supplement 2 >> /DW 1000 /FontDescriptor %d 0 R >>"
                       % descriptor)
        chinese = self.add(b"<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light /Encoding /UniGB-UCS2-H"
                           b" /DescendantFonts [%d 0 R] >>" % cid)
        return b"<< /FL %d 0 R /FB %d 0 R /FC %d 0 R >>" % (*latin, chinese)

    def build(self):
        fonts, tree = self.fonts(), self.add(None)
        kids = []
        for p in self.pages:
            content = self.add_stream(b"\n".join(p.ops))
            kids.append(self.add(b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R"
                                 b" /Resources << /Font %s %s >> >>" % (tree, *p.size, content, fonts, p.resources)))
        self.objects[tree] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (
            len(kids), b" ".join(b"%d 0 R" % k for k in kids))
        return self.write(self.add(b"<< /Type /Catalog /Pages %d 0 R >>" % tree))

    def write(self, root):
        """The file with what was added; `root` is the catalog's number."""
        trailer = b"/Root %d 0 R" % root
        if self.title is not None:
            raw = b"\xfe\xff" + self.title.encode("utf-16-be")
            trailer += b" /Info %d 0 R" % self.add(b"<< /Title <%s> >>" % raw.hex().encode())
        key = None
        plain = len(self.objects)
        if self.key:
            key, file_id, dictionary = self._encryption()
            trailer += b" /Encrypt %d 0 R /ID [<%s> <%s>]" % (
                self.add(dictionary), file_id.hex().encode(), file_id.hex().encode())
        out, offsets = bytearray(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"), []
        for n, body in enumerate(self.objects[1:], 1):
            offsets.append(len(out))
            if key and n < plain:
                body = self._encrypted(body, key, n)
            out += b"%d 0 obj\n" % n + body + b"\nendobj\n"
        at = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % len(self.objects)
        out += b"".join(b"%010d 00000 n \n" % o for o in offsets)
        out += b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(self.objects), trailer, at)
        return bytes(out)


def image_only(n_pages=2):
    """Pages that hold one grey picture each, as a scanner makes them."""
    pdf = Pdf()
    picture = pdf.add_stream(b"\x80" * 64 * 64, b" /Type /XObject /Subtype /Image /Width 64 /Height 64"
                             b" /ColorSpace /DeviceGray /BitsPerComponent 8")
    for _ in range(n_pages):
        p = pdf.page()
        p.resources = b"/XObject << /I %d 0 R >>" % picture
        p.raw(b"q 500 0 0 700 40 60 cm /I Do Q")
    return pdf.build()


def page_tree_loop():
    """A page tree that is its own kid."""
    pdf = Pdf()
    tree = pdf.add(None)
    pdf.objects[tree] = b"<< /Type /Pages /Count 1000 /Kids [%d 0 R %d 0 R] /Parent %d 0 R >>" % (tree, tree, tree)
    return pdf.write(pdf.add(b"<< /Type /Catalog /Pages %d 0 R >>" % tree))


def form_loop():
    """A page whose content draws a form that draws itself."""
    pdf = Pdf()
    form = len(pdf.objects)
    pdf.add_stream(b"/X Do /X Do", b" /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources"
                   b" << /XObject << /X %d 0 R >> >>" % form)
    page = pdf.page()
    page.resources = b"/XObject << /X %d 0 R >>" % form
    page.raw(b"/X Do " * 50)
    return pdf.build()


def bomb(piece, mib, times=1):
    """One page whose content stream is `piece` over and over, `mib` MiB before it is packed, `times` over."""
    pdf = Pdf()
    fonts, tree = pdf.fonts(), pdf.add(None)
    packer, packed = zlib.compressobj(9), bytearray()
    block = piece * ((1 << 20) // len(piece))
    for _ in range(mib):
        packed += packer.compress(block)
    packed += packer.flush()
    content = pdf.add(b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(packed) + bytes(packed) + b"\nendstream")
    kid = pdf.add(b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 595 842] /Contents [%s]"
                  b" /Resources << /Font %s >> >>" % (tree, b" ".join([b"%d 0 R" % content] * times), fonts))
    pdf.objects[tree] = b"<< /Type /Pages /Count 1 /Kids [%d 0 R] >>" % kid
    return pdf.write(pdf.add(b"<< /Type /Catalog /Pages %d 0 R >>" % tree))
