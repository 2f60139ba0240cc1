#!/usr/bin/env python3
"""Write the workbooks, PDF and Word files of the sample knowledge base (sample/docs).

Standard library only; the same source always gives the same bytes (fixed dates, nothing deflated).

Workbooks, whose data is below, are shaped as teams keep them: a merged title, header cells merged across
and down, an empty column between blocks, dates, amounts and percentages stored as formatted numbers,
formulas with their cached values, a few cells with rich text or stored inline, an empty row inside the
data, a hidden sheet with figures that no longer hold.

PDF and Word files come from the texts in sample/src. A text starts with `name: value` lines (title,
running: the head of every page, foot: of every PDF page) and goes on in blocks, an empty line between them:

  #, ##, ###                 headings; the first, `#`, is the title
  - item / 1. item           lists
  | a | b |                  a table, its first line the head; a cell `<` belongs to the cell on its left,
                             `^` to the one above
  [columns 2]                PDF: what follows stands in two columns, until [columns 1]
  **bold**                   inline, as are these of Word: [^1: a footnote], [!comment: a comment],
                             [-deleted-] and [+inserted+] with tracked changes

Facts that every document of the sample shares (Chinese and English, text and sheets):

  card       fee     limit            points/¥1   valid   FX    cash advance     miles  lounge    transfer
  Young      0       3,000-20,000     1           24 mo   1.5%  1%, min ¥10      25:1   0         0
  Gold       300     10,000-50,000    1           24 mo   1.5%  1%, min ¥10      20:1   0         0
  Travel     800     20,000-100,000   1.5 / 3     36 mo   0     1%, min ¥10      10:1   4         0
  Platinum   3,600   50,000-300,000   2           60 mo   1.0%  0.5%, min ¥5     12:1   12        4 x 50 km
  Centurion  18,000  500,000 and up   3           never   0     none             8:1    no limit  12 x 100 km

  Fee waiver: Gold 12 purchases or 15,000 points; Travel ¥80,000 or 40,000; Platinum ¥200,000 or 180,000;
  Centurion never. Instalments: 3 / 6 / 12 / 24 months 1.95 / 3.5 / 6.6 / 13.2 %, Platinum x 0.8,
  Centurion x 0.6. Interest 0.05 % a day. Late fee 5 %, at least ¥10. Platinum: full refund within 60 days.

Usage: make_sample_files.py [OUTPUT_DIRECTORY]      (default: sample/docs beside this script's folder)
"""
import datetime
import io
import itertools
import os
import re
import sys
import zipfile
from xml.sax.saxutils import escape

# Cell styles, in the order of cellXfs: name -> (number format id, font id, fill id, alignment)
STYLES = [
    ("text", 0, 0, 0, ""),
    ("title", 0, 2, 0, "center"),
    ("head", 0, 1, 2, "center"),
    ("yuan", 164, 0, 0, ""),
    ("date", 165, 0, 0, ""),
    ("pct1", 166, 0, 0, ""),
    ("pct2", 10, 0, 0, ""),
    ("int", 3, 0, 0, ""),
    ("wrap", 0, 0, 0, "wrap"),
    ("yuan2", 167, 0, 0, ""),
]
STYLE = {s[0]: i for i, s in enumerate(STYLES)}
FORMATS = {164: '"¥"#,##0', 165: "yyyy\\-mm\\-dd", 166: "0.0%", 167: '"¥"#,##0.00'}
STAMP = (2026, 1, 5, 9, 0, 0)
NS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PKG = "http://schemas.openxmlformats.org/package/2006"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


class C:
    """A cell: value, style name, and optionally a formula whose cached result the value is."""

    def __init__(self, value, style="text", formula=None, inline=False, rich=None):
        self.value, self.style, self.formula, self.inline, self.rich = value, style, formula, inline, rich


def yuan(v, formula=None):
    return C(v, "yuan", formula)


def yuan2(v, formula=None):
    return C(v, "yuan2", formula)


def pct(v, style="pct2", formula=None):
    return C(v, style, formula)


def num(v):
    return C(v, "int")


def day(y, m, d):
    return C((datetime.date(y, m, d) - datetime.date(1899, 12, 30)).days, "date")


def t(s):
    return C(s, "title")


def h(*names):
    return [C(n, "head") if n is not None else None for n in names]


def inline(s):
    return C(s, inline=True)


def rich(*runs):
    """Text in runs; a run given as a tuple is bold."""
    return C("".join(r[0] if isinstance(r, tuple) else r for r in runs), rich=runs)


class Sheet:
    def __init__(self, name, rows, merges=(), widths=(), freeze=0, hidden=False):
        self.name, self.rows, self.merges, self.widths, self.freeze = name, rows, merges, widths, freeze
        self.hidden = hidden


def col(i):
    s = ""
    i += 1
    while i:
        i, r = divmod(i - 1, 26)
        s = chr(65 + r) + s
    return s


class Strings:
    def __init__(self):
        self.index, self.items, self.uses = {}, [], 0

    def add(self, cell):
        self.uses += 1
        xml = ""
        if cell.rich:
            for r in cell.rich:
                bold = isinstance(r, tuple)
                text = escape(r[0] if bold else r)
                pr = '<rPr><b/><sz val="11"/><rFont val="Calibri"/></rPr>' if bold else ""
                xml += f'<r>{pr}<t xml:space="preserve">{text}</t></r>'
        else:
            s = cell.value
            keep = ' xml:space="preserve"' if s != s.strip() or "\n" in s else ""
            xml = f"<t{keep}>{escape(s)}</t>"
        if xml not in self.index:
            self.index[xml] = len(self.items)
            self.items.append(xml)
        return self.index[xml]


def sheet_xml(sheet, strings, active):
    width = max(len(r) for r in sheet.rows)
    out = [HEAD, f'<worksheet xmlns="{NS}" xmlns:r="{REL}">']
    out.append(f'<dimension ref="A1:{col(width - 1)}{len(sheet.rows)}"/>')
    pane = ""
    if sheet.freeze:
        pane = (f'<pane ySplit="{sheet.freeze}" topLeftCell="A{sheet.freeze + 1}" '
                'activePane="bottomLeft" state="frozen"/>')
    selected = ' tabSelected="1"' if active else ""
    out.append(f'<sheetViews><sheetView{selected} workbookViewId="0">{pane}</sheetView></sheetViews>')
    out.append('<sheetFormatPr defaultRowHeight="15"/>')
    if sheet.widths:
        out.append("<cols>")
        for i, w in enumerate(sheet.widths, 1):
            out.append(f'<col min="{i}" max="{i}" width="{w}" customWidth="1"/>')
        out.append("</cols>")
    out.append("<sheetData>")
    for n, row in enumerate(sheet.rows, 1):
        if not row:
            continue
        out.append(f'<row r="{n}">')
        for i, cell in enumerate(row):
            if cell is None:
                continue
            if isinstance(cell, str):
                cell = C(cell, "wrap" if "\n" in cell else "text")
            ref, s = f"{col(i)}{n}", STYLE[cell.style]
            st = f' s="{s}"' if s else ""
            if isinstance(cell.value, str):
                if cell.inline:
                    out.append(f'<c r="{ref}"{st} t="inlineStr"><is><t>{escape(cell.value)}</t></is></c>')
                else:
                    out.append(f'<c r="{ref}"{st} t="s"><v>{strings.add(cell)}</v></c>')
            else:
                f = f"<f>{escape(cell.formula)}</f>" if cell.formula else ""
                out.append(f'<c r="{ref}"{st}>{f}<v>{cell.value!r}</v></c>')
        out.append("</row>")
    out.append("</sheetData>")
    if sheet.merges:
        out.append(f'<mergeCells count="{len(sheet.merges)}">')
        out.extend(f'<mergeCell ref="{m}"/>' for m in sheet.merges)
        out.append("</mergeCells>")
    out.append('<pageMargins left="0.7" right="0.7" top="0.75" bottom="0.75" header="0.3" footer="0.3"/>')
    out.append("</worksheet>")
    return "".join(out)


def styles_xml():
    out = [HEAD, f'<styleSheet xmlns="{NS}">', f'<numFmts count="{len(FORMATS)}">']
    for k, v in FORMATS.items():
        out.append(f'<numFmt numFmtId="{k}" formatCode="{escape(v, {chr(34): "&quot;"})}"/>')
    out.append('</numFmts><fonts count="3">'
               '<font><sz val="11"/><name val="Calibri"/><family val="2"/></font>'
               '<font><b/><sz val="11"/><name val="Calibri"/><family val="2"/></font>'
               '<font><b/><sz val="14"/><name val="Calibri"/><family val="2"/></font></fonts>'
               '<fills count="3"><fill><patternFill patternType="none"/></fill>'
               '<fill><patternFill patternType="gray125"/></fill>'
               '<fill><patternFill patternType="solid"><fgColor rgb="FFDDEBDD"/><bgColor indexed="64"/>'
               '</patternFill></fill></fills>'
               '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
               '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>')
    out.append(f'<cellXfs count="{len(STYLES)}">')
    for _, fmt, font, fill, align in STYLES:
        at = f'numFmtId="{fmt}" fontId="{font}" fillId="{fill}" borderId="0" xfId="0"'
        at += ' applyNumberFormat="1"' if fmt else ""
        at += ' applyFont="1"' if font else ""
        at += ' applyFill="1"' if fill else ""
        if align == "center":
            out.append(f'<xf {at} applyAlignment="1"><alignment horizontal="center" vertical="center"/></xf>')
        elif align == "wrap":
            out.append(f'<xf {at} applyAlignment="1"><alignment vertical="top" wrapText="1"/></xf>')
        else:
            out.append(f"<xf {at}/>")
    out.append('</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
               "</styleSheet>")
    return "".join(out)


def core_xml(title):
    return (f'{HEAD}<cp:coreProperties xmlns:cp="{PKG}/metadata/core-properties" '
            'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            f"<dc:title>{escape(title)}</dc:title><dc:creator>Spruce Bank (fictitious)</dc:creator>"
            '<dcterms:created xsi:type="dcterms:W3CDTF">2026-01-05T09:00:00Z</dcterms:created>'
            "</cp:coreProperties>")


def package_rels(main_part):
    return (f'{HEAD}<Relationships xmlns="{PKG}/relationships">'
            f'<Relationship Id="rId1" Type="{REL}/officeDocument" Target="{main_part}"/>'
            f'<Relationship Id="rId2" Type="{PKG}/relationships/metadata/core-properties" '
            'Target="docProps/core.xml"/></Relationships>')


def write_file(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".tmp", "wb") as f:
        f.write(data)
    os.replace(path + ".tmp", path)


def write_package(path, parts):
    """parts: [(name, xml)] in the order of the archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, xml in parts:
            info = zipfile.ZipInfo(name, STAMP)
            info.compress_type = zipfile.ZIP_STORED  # no deflate: the bytes do not depend on zlib's version
            info.external_attr = 0o644 << 16
            info.create_system = 3
            z.writestr(info, xml.encode("utf-8"))
    write_file(path, out.getvalue())


def write_workbook(path, title, sheets):
    strings = Strings()
    parts = {}
    main = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    types = [HEAD, f'<Types xmlns="{PKG}/content-types">',
             '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>',
             '<Default Extension="xml" ContentType="application/xml"/>',
             f'<Override PartName="/xl/workbook.xml" ContentType="{main}.sheet.main+xml"/>']
    book = [HEAD, f'<workbook xmlns="{NS}" xmlns:r="{REL}"><bookViews><workbookView/></bookViews><sheets>']
    rels = [HEAD, f'<Relationships xmlns="{PKG}/relationships">']
    for i, s in enumerate(sheets, 1):
        parts[f"xl/worksheets/sheet{i}.xml"] = sheet_xml(s, strings, i == 1)
        types.append(f'<Override PartName="/xl/worksheets/sheet{i}.xml" ContentType="{main}.worksheet+xml"/>')
        state = ' state="hidden"' if s.hidden else ""
        book.append(f'<sheet name="{escape(s.name)}" sheetId="{i}"{state} r:id="rId{i}"/>')
        rels.append(f'<Relationship Id="rId{i}" Type="{REL}/worksheet" Target="worksheets/sheet{i}.xml"/>')
    n = len(sheets)
    rels.append(f'<Relationship Id="rId{n + 1}" Type="{REL}/styles" Target="styles.xml"/>')
    rels.append(f'<Relationship Id="rId{n + 2}" Type="{REL}/sharedStrings" Target="sharedStrings.xml"/>')
    types.append(f'<Override PartName="/xl/styles.xml" ContentType="{main}.styles+xml"/>')
    types.append(f'<Override PartName="/xl/sharedStrings.xml" ContentType="{main}.sharedStrings+xml"/>')
    types.append('<Override PartName="/docProps/core.xml" '
                 'ContentType="application/vnd.openxmlformats-package.core-properties+xml"/></Types>')
    book.append("</sheets></workbook>")
    rels.append("</Relationships>")
    items = "".join(f"<si>{x}</si>" for x in strings.items)
    parts["xl/workbook.xml"] = "".join(book)
    parts["xl/_rels/workbook.xml.rels"] = "".join(rels)
    parts["xl/styles.xml"] = styles_xml()
    parts["xl/sharedStrings.xml"] = (f'{HEAD}<sst xmlns="{NS}" count="{strings.uses}" '
                                     f'uniqueCount="{len(strings.items)}">{items}</sst>')
    parts["docProps/core.xml"] = core_xml(title)
    parts["_rels/.rels"] = package_rels("xl/workbook.xml")
    order = ["[Content_Types].xml", "_rels/.rels", "docProps/core.xml", "xl/workbook.xml",
             "xl/_rels/workbook.xml.rels", "xl/styles.xml", "xl/sharedStrings.xml"]
    parts["[Content_Types].xml"] = "".join(types)
    order += [f"xl/worksheets/sheet{i}.xml" for i in range(1, n + 1)]
    write_package(path, [(name, parts[name]) for name in order])


# Texts -------------------------------------------------------------------------------------------

INLINE = re.compile(r"\*\*(.+?)\*\*|\[\^\d+: (.+?)\]|\[!comment: (.+?)\]|\[-(.+?)-\]|\[\+(.+?)\+\]")


def spans(text):
    """[(kind, text)]: kinds text, bold, note, comment, deleted, inserted."""
    out, at = [], 0
    for m in INLINE.finditer(text):
        if m.start() > at:
            out.append(("text", text[at:m.start()]))
        kind = ("bold", "note", "comment", "deleted", "inserted")[m.lastindex - 1]
        out.append((kind, m.group(m.lastindex)))
        at = m.end()
    if at < len(text):
        out.append(("text", text[at:]))
    return out


def read_source(path):
    """({name: value}, [(kind, content)]): kinds h1 h2 h3 p bullet number columns, with their text; table, with rows."""
    with open(path, encoding="utf-8") as f:
        head, _, body = f.read().partition("\n\n")
    meta = dict(line.split(": ", 1) for line in head.splitlines())
    blocks = []
    for line in body.splitlines():
        if line.startswith("|"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            if set("".join(cells)) == {"-"}:
                continue
            if not blocks or blocks[-1][0] != "table":
                blocks.append(("table", []))
            blocks[-1][1].append(cells)
            continue
        for pattern, kind in ((r"# (.+)", "h1"), (r"## (.+)", "h2"), (r"### (.+)", "h3"), (r"- (.+)", "bullet"),
                              (r"\d+\. (.+)", "number"), (r"\[columns (\d)\]", "columns"), (r"(.+)", "p")):
            m = re.fullmatch(pattern, line)
            if m:
                blocks.append((kind, m.group(1)))
                break
        else:
            blocks.append(("gap", ""))
    return meta, blocks


# Word --------------------------------------------------------------------------------------------

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"


class Word:
    """The parts of one document while its blocks are written."""

    def __init__(self):
        self.body, self.notes, self.comments, self.lists, self.changes = [], [], [], 0, 0

    def run(self, kind, text):
        if kind == "note":
            self.notes.append(text)
            return ('<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr>'
                    f'<w:footnoteReference w:id="{len(self.notes)}"/></w:r>')
        if kind == "comment":
            n = len(self.comments)
            self.comments.append(text)
            return (f'<w:commentRangeStart w:id="{n}"/><w:commentRangeEnd w:id="{n}"/>'
                    f'<w:r><w:commentReference w:id="{n}"/></w:r>')
        name = "w:delText" if kind == "deleted" else "w:t"
        pr = "<w:rPr><w:b/></w:rPr>" if kind == "bold" else ""
        xml = f'<w:r>{pr}<{name} xml:space="preserve">{escape(text)}</{name}></w:r>'
        if kind in ("deleted", "inserted"):
            self.changes += 1
            tag = "w:del" if kind == "deleted" else "w:ins"
            xml = (f'<{tag} w:id="{self.changes}" w:author="Spruce Bank (fictitious)" w:date="2026-01-05T09:00:00Z">'
                   f"{xml}</{tag}>")
        return xml

    def paragraph(self, text, style="", extra=""):
        pr = (f'<w:pStyle w:val="{style}"/>' if style else "") + extra
        runs = "".join(self.run(*s) for s in spans(text))
        return f"<w:p>{f'<w:pPr>{pr}</w:pPr>' if pr else ''}{runs}</w:p>"

    def item(self, text, numbered, first):
        if numbered and first:
            self.lists += 1
        num = self.lists + 1 if numbered else 1
        return self.paragraph(text, "ListParagraph",
                              f'<w:numPr><w:ilvl w:val="0"/><w:numId w:val="{num}"/></w:numPr>')

    def table(self, rows):
        width = len(rows[0])
        out = ['<w:tbl><w:tblPr><w:tblStyle w:val="TableGrid"/><w:tblW w:w="0" w:type="auto"/></w:tblPr><w:tblGrid>',
               f'<w:gridCol w:w="{9000 // width}"/>' * width, "</w:tblGrid>"]
        for r, row in enumerate(rows):
            out.append("<w:tr>" + ("<w:trPr><w:tblHeader/></w:trPr>" if r == 0 else ""))
            for c, cell in enumerate(row):
                if cell == "<":
                    continue
                span = 1
                while c + span < width and row[c + span] == "<":
                    span += 1
                pr = f'<w:gridSpan w:val="{span}"/>' if span > 1 else ""
                if cell == "^":
                    pr += "<w:vMerge/>"
                elif r + 1 < len(rows) and rows[r + 1][c] == "^":
                    pr += '<w:vMerge w:val="restart"/>'
                text = "" if cell == "^" else f"**{cell}**" if r == 0 else cell
                out.append(f"<w:tc><w:tcPr>{pr}</w:tcPr>{self.paragraph(text)}</w:tc>")
            out.append("</w:tr>")
        out.append("</w:tbl><w:p/>")
        return "".join(out)


def word_styles():
    out = [f'{HEAD}<w:styles xmlns:w="{W}"><w:style w:type="paragraph" w:default="1" w:styleId="Normal">'
           '<w:name w:val="Normal"/></w:style>']
    for style, name, level, size in (("Title", "Title", None, 36), ("Heading1", "heading 1", 0, 30),
                                     ("Heading2", "heading 2", 1, 26)):
        outline = "" if level is None else f'<w:outlineLvl w:val="{level}"/>'
        out.append(f'<w:style w:type="paragraph" w:styleId="{style}"><w:name w:val="{name}"/>'
                   f'<w:basedOn w:val="Normal"/><w:pPr><w:spacing w:before="240" w:after="80"/>{outline}</w:pPr>'
                   f'<w:rPr><w:b/><w:sz w:val="{size}"/></w:rPr></w:style>')
    out.append('<w:style w:type="paragraph" w:styleId="ListParagraph"><w:name w:val="List Paragraph"/>'
               '<w:basedOn w:val="Normal"/></w:style><w:style w:type="table" w:styleId="TableGrid">'
               '<w:name w:val="Table Grid"/><w:tblPr><w:tblBorders>')
    out.extend(f'<w:{side} w:val="single" w:sz="4" w:space="0" w:color="808080"/>'
               for side in ("top", "left", "bottom", "right", "insideH", "insideV"))
    out.append("</w:tblBorders></w:tblPr></w:style></w:styles>")
    return "".join(out)


def word_numbering(lists):
    level = ('<w:abstractNum w:abstractNumId="{0}"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="{1}"/>'
             '<w:lvlText w:val="{2}"/><w:lvlJc w:val="left"/><w:pPr><w:ind w:left="420" w:hanging="420"/></w:pPr>'
             "</w:lvl></w:abstractNum>")
    out = [f'{HEAD}<w:numbering xmlns:w="{W}">', level.format(0, "bullet", "•")]
    out.extend(level.format(n, "decimal", "%1.") for n in range(1, lists + 1))
    out.extend(f'<w:num w:numId="{n + 1}"><w:abstractNumId w:val="{n}"/></w:num>' for n in range(lists + 1))
    return "".join(out) + "</w:numbering>"


def write_docx(path, meta, blocks):
    doc, last = Word(), ""
    for kind, content in blocks:
        if kind == "table":
            doc.body.append(doc.table(content))
        elif kind in ("bullet", "number"):
            doc.body.append(doc.item(content, kind == "number", last != kind))
        elif kind in ("h1", "h2", "h3", "p"):
            doc.body.append(doc.paragraph(content, {"h1": "Title", "h2": "Heading1", "h3": "Heading2", "p": ""}[kind]))
        last = kind
    notes = "".join(f'<w:footnote w:id="{n}">{Word().paragraph(text)}</w:footnote>' for n, text in enumerate(doc.notes, 1))
    comments = "".join(f'<w:comment w:id="{n}" w:author="Spruce Bank (fictitious)" w:date="2026-01-05T09:00:00Z">'
                       f"{Word().paragraph(text)}</w:comment>" for n, text in enumerate(doc.comments))
    parts = [
        ("document.xml", "document.main",
         f'<w:document xmlns:w="{W}" xmlns:r="{REL}"><w:body>{"".join(doc.body)}<w:sectPr>'
         '<w:headerReference w:type="default" r:id="rId1"/><w:pgSz w:w="11906" w:h="16838"/>'
         '<w:pgMar w:top="1440" w:right="1440" w:bottom="1440" w:left="1440" w:header="720" w:footer="720" '
         'w:gutter="0"/></w:sectPr></w:body></w:document>'),
        ("header1.xml", "header", f'<w:hdr xmlns:w="{W}">{Word().paragraph(meta["running"])}</w:hdr>'),
        ("styles.xml", "styles", word_styles()),
        ("numbering.xml", "numbering", word_numbering(doc.lists)),
        ("footnotes.xml", "footnotes", f'<w:footnotes xmlns:w="{W}">{notes}</w:footnotes>'),
        ("comments.xml", "comments", f'<w:comments xmlns:w="{W}">{comments}</w:comments>')]
    types = "".join(f'<Override PartName="/word/{name}" ContentType="{WORD}.{kind}+xml"/>' for name, kind, _ in parts)
    rels = "".join(f'<Relationship Id="rId{n}" Type="{REL}/{kind}" Target="{name}"/>'
                   for n, (name, kind, _) in enumerate(parts[1:], 1))
    write_package(path, [
        ("[Content_Types].xml",
         f'{HEAD}<Types xmlns="{PKG}/content-types">'
         '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
         f'<Default Extension="xml" ContentType="application/xml"/>{types}<Override PartName="/docProps/core.xml" '
         'ContentType="application/vnd.openxmlformats-package.core-properties+xml"/></Types>'),
        ("_rels/.rels", package_rels("word/document.xml")),
        ("docProps/core.xml", core_xml(meta["title"])),
        ("word/_rels/document.xml.rels", f'{HEAD}<Relationships xmlns="{PKG}/relationships">{rels}</Relationships>'),
    ] + [("word/" + name, xml if xml.startswith(HEAD) else HEAD + xml) for name, _, xml in parts])


# PDF ---------------------------------------------------------------------------------------------
# Nothing is embedded: Latin text in the standard fonts, Chinese in STSong-Light with a predefined CMap, whose
# codes are UTF-16. A viewer puts its own fonts in their place.

PAGE_W, PAGE_H, MARGIN, GUTTER = 595, 842, 62, 36
SIZES = {"h1": 18, "h2": 14, "h3": 11.5, "p": 10, "bullet": 10, "number": 10, "cell": 9, "running": 8}
SPACE = {"h1": (0, 10), "h2": (14, 6), "h3": (8, 3), "p": (0, 6), "bullet": (0, 3), "number": (0, 4)}
LEADING = {"zh": 1.5, "en": 1.3}
# Advance widths of the characters 32 to 126, in thousandths (Adobe Font Metrics of the core 14 fonts).
HELVETICA = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278] + [556] * 10 + [
    278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556,
    278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584]
NO_LINE_START = "，。、；：！？）》”’%,.;:!?)"
NO_LINE_END = "（《“‘("
SOFT_HYPHEN = "\u00ad"


def is_latin(ch):
    return " " <= ch <= "~" or ch == "¥"


def width_of(text, size, bold):
    w = sum(0 if ch == SOFT_HYPHEN else 1000 if not is_latin(ch) else 556 if ch == "¥" else HELVETICA[ord(ch) - 32]
            for ch in text)
    return w * size / 1000 * (1.07 if bold else 1)  # Helvetica-Bold is up to 7 % wider on such text


def pieces(text):
    """What a line may be broken between: words with the space after them, parts of hyphenated ones, ideographs."""
    out = re.findall(r"[!-~¥\u00ad]+ *| +|.", text)
    parts = []
    for p in out:
        cut = p.split(SOFT_HYPHEN)
        parts += [x + SOFT_HYPHEN for x in cut[:-1]] + [cut[-1]]
    joined = []
    for p in parts:
        if joined and (p[0] in NO_LINE_START or joined[-1][-1] in NO_LINE_END):
            joined[-1] += p
        else:
            joined.append(p)
    return joined


def wrap(text, size, width, bold=False):
    lines, line = [], ""
    for p in pieces(text):
        if line and width_of((line + p).rstrip(), size, bold) > width:
            lines.append(line)
            line = ""
        line += p
    lines.append(line)
    return [(s.rstrip()[:-1].replace(SOFT_HYPHEN, "") + "-") if s.endswith(SOFT_HYPHEN) else
            s.rstrip().replace(SOFT_HYPHEN, "") for s in lines]


class Canvas:
    """Pages, and a place on the last of them where the next line goes."""

    def __init__(self, leading):
        self.pages, self.columns, self.column, self.leading = [], 1, 0, leading
        self.new_page()

    def new_page(self):
        self.pages.append([])
        self.column, self.y, self.top, self.deepest = 0, PAGE_H - MARGIN - 20, PAGE_H - MARGIN - 20, PAGE_H

    def width(self):
        return (PAGE_W - 2 * MARGIN - GUTTER * (self.columns - 1)) / self.columns

    def left(self):
        return MARGIN + self.column * (self.width() + GUTTER)

    def set_columns(self, n):
        if n == 1 and self.columns > 1:
            self.y = min(self.y, self.deepest) - 6
        self.columns, self.column, self.top, self.deepest = n, 0, self.y, PAGE_H

    def need(self, height):
        """Goes on in the next column or on the next page when there is no room."""
        if self.y - height >= MARGIN + 10:
            return
        self.deepest = min(self.deepest, self.y)
        if self.column + 1 < self.columns:
            self.column, self.y = self.column + 1, self.top
        else:
            self.new_page()

    def text(self, x, y, size, s, bold=False):
        out = [f"BT {x:.2f} {y:.2f} Td"]
        for latin, run in itertools.groupby(s, is_latin):
            run = "".join(run)
            if latin:
                run = run.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)").replace("¥", "\\245")
                out.append(f"/{'FB' if bold else 'FL'} {size} Tf ({run}) Tj")
            else:
                out.append(f"/FC {size} Tf <{run.encode('utf-16-be').hex().upper()}> Tj")
        self.pages[-1].append(" ".join(out) + " ET")

    def rule(self, x1, y1, x2, y2):
        self.pages[-1].append(f"0.4 w {x1:.2f} {y1:.2f} m {x2:.2f} {y2:.2f} l S")


def balance(blocks, canvas):
    """The column height at which blocks fill two columns evenly."""
    width = (PAGE_W - 2 * MARGIN - GUTTER) / 2
    height = sum(sum(SPACE[k]) + len(wrap(text, SIZES[k], width, k != "p")) * SIZES[k] * canvas.leading for k, text in blocks)
    return min(height / 2 + 12, canvas.y - MARGIN - 10)


def draw_text(canvas, kind, text, label=""):
    size, (before, after) = SIZES[kind], SPACE[kind]
    indent = 16 if label else 0
    bold = kind in ("h1", "h2", "h3")
    lines = wrap(text, size, canvas.width() - indent, bold)
    canvas.need(before + size * canvas.leading * (min(2, len(lines)) + (2 if bold else 0)))
    canvas.y -= before
    for n, line in enumerate(lines):
        canvas.need(size * canvas.leading)
        canvas.y -= size * canvas.leading
        x = canvas.left() + indent
        if kind == "h1":
            x = (PAGE_W - width_of(line, size, True)) / 2
        if label and n == 0:
            canvas.text(canvas.left(), canvas.y, size, label)
        canvas.text(x, canvas.y, size, line, bold)
    canvas.y -= after


def column_widths(rows, total):
    size = SIZES["cell"]
    want = [max(width_of(r[c], size, True) for r in rows) + 10 for c in range(len(rows[0]))]
    fair = total / len(want)
    spare = sum(max(0, fair - w) for w in want)
    over = sum(max(0, w - fair) for w in want)
    if over <= spare:
        return [w * total / sum(want) for w in want]
    return [w if w <= fair else fair + spare * (w - fair) / over for w in want]


def draw_table(canvas, rows):
    size = SIZES["cell"]
    step = size * 1.4
    widths = column_widths(rows, canvas.width())
    cells = [[wrap(text, size, w - 8, r == 0) for text, w in zip(row, widths)] for r, row in enumerate(rows)]
    heights = [max(map(len, row)) * step + 8 for row in cells]
    right = canvas.left() + sum(widths)
    if canvas.y - heights[0] - heights[1] < MARGIN + 10:
        canvas.new_page()
    canvas.rule(canvas.left(), canvas.y, right, canvas.y)
    for r, row in enumerate(cells):
        if canvas.y - heights[r] < MARGIN + 10:
            canvas.new_page()
            canvas.rule(canvas.left(), canvas.y, right, canvas.y)
        x, bottom = canvas.left(), canvas.y - heights[r]
        for lines, w in zip(row, widths):
            for n, line in enumerate(lines):
                canvas.text(x + 4, canvas.y - 4 - step * n - size, size, line, r == 0)
            canvas.rule(x, canvas.y, x, bottom)
            x += w
        canvas.rule(right, canvas.y, right, bottom)
        canvas.rule(canvas.left(), bottom, right, bottom)
        canvas.y = bottom
    canvas.y -= 12


def draw_columns(canvas, blocks):
    canvas.set_columns(2)
    floor = canvas.y - balance(blocks, canvas)
    for kind, text in blocks:
        if canvas.column == 0 and canvas.y < floor and kind == "h3":
            canvas.deepest, canvas.column, canvas.y = min(canvas.deepest, canvas.y), 1, canvas.top
        draw_text(canvas, kind, text)
    canvas.set_columns(1)


def draw(canvas, blocks):
    number, aside = 0, None
    for kind, content in blocks:
        if kind == "columns":
            if content == "1":
                draw_columns(canvas, aside)
            aside = [] if content != "1" else None
        elif kind == "gap":
            continue
        elif aside is not None:
            aside.append((kind, content))
        elif kind == "table":
            draw_table(canvas, content)
        elif kind == "bullet":
            draw_text(canvas, kind, content, "-")
        else:
            number = number + 1 if kind == "number" else 0
            draw_text(canvas, kind, content, f"{number}." if number else "")


def pdf_objects(canvas, meta):
    """The objects of the file, number 1 first: catalogue, pages, fonts, information, then two for each page."""
    kids = " ".join(f"{9 + 2 * n} 0 R" for n in range(len(canvas.pages)))
    title = (b"\xfe\xff" + meta["title"].encode("utf-16-be")).hex().upper()
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(canvas.pages)} /Kids [{kids}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
        "<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light-UniGB-UTF16-H /Encoding /UniGB-UTF16-H "
        "/DescendantFonts [6 0 R] >>",
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /DW 1000 /FontDescriptor 7 0 R "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (GB1) /Supplement 4 >> >>",
        "<< /Type /FontDescriptor /FontName /STSong-Light /Flags 6 /FontBBox [-25 -254 1000 880] /ItalicAngle 0 "
        "/Ascent 880 /Descent -120 /CapHeight 880 /StemV 93 >>",
        f"<< /Title <{title}> /Author (Spruce Bank \\(fictitious\\)) /CreationDate (D:20260105090000+08'00') >>"]
    for n, page in enumerate(canvas.pages):
        stream = "\n".join(page)
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_W} {PAGE_H}] /Contents {10 + 2 * n} 0 R "
                       "/Resources << /Font << /FL 3 0 R /FB 4 0 R /FC 5 0 R >> >> >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    return objects


def write_pdf(path, meta, blocks):
    canvas = Canvas(LEADING["en" if all(map(is_latin, meta["title"])) else "zh"])
    draw(canvas, blocks)
    pages = canvas.pages
    for n, page in enumerate(pages, 1):
        canvas.pages = [page]
        size, foot = SIZES["running"], meta["foot"].format(page=n, pages=len(pages))
        canvas.text(MARGIN, PAGE_H - 46, size, meta["running"])
        canvas.rule(MARGIN, PAGE_H - 52, PAGE_W - MARGIN, PAGE_H - 52)
        canvas.text((PAGE_W - width_of(foot, size, False)) / 2, 40, size, foot)
    canvas.pages = pages
    out, offsets = bytearray(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"), []
    for n, body in enumerate(pdf_objects(canvas, meta), 1):
        offsets.append(len(out))
        out += f"{n} 0 obj\n{body}\nendobj\n".encode("ascii")
    xref = len(out)
    out += f"xref\n0 {len(offsets) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(b"%010d 00000 n \n" % o for o in offsets)
    out += f"trailer\n<< /Size {len(offsets) + 1} /Root 1 0 R /Info 8 0 R >>\nstartxref\n{xref}\n%%EOF\n".encode()
    write_file(path, bytes(out))


# The data ----------------------------------------------------------------------------------------

FEES = {"young": 0, "gold": 300, "travel": 800, "platinum": 3600, "centurion": 18000}
ZH = {"young": "青春卡", "gold": "金卡", "travel": "旅行卡", "platinum": "白金卡", "centurion": "百夫长卡"}
EN = {"young": "Young", "gold": "Gold", "travel": "Travel", "platinum": "Platinum", "centurion": "Centurion"}
LIMITS = {"young": (3000, 20000), "gold": (10000, 50000), "travel": (20000, 100000),
          "platinum": (50000, 300000), "centurion": (500000, None)}
POINTS = {"young": (1, 24), "gold": (1, 24), "travel": (1.5, 36), "platinum": (2, 60), "centurion": (3, None)}
FX = {"young": 0.015, "gold": 0.015, "travel": 0, "platinum": 0.01, "centurion": 0}
LAUNCH = {"young": (2024, 9, 1), "gold": (2019, 3, 15), "travel": (2022, 6, 1),
          "platinum": (2020, 10, 10), "centurion": (2023, 1, 1)}
RATES = {3: 0.0195, 6: 0.035, 12: 0.066, 24: 0.132}
SUPP = {"young": ("不支持", "not offered"), "gold": (150, 150), "travel": (400, 400),
        "platinum": ("前2张免费，之后¥1,800", "2 free, then ¥1,800"),
        "centurion": ("前4张免费，之后¥5,000", "4 free, then ¥5,000")}
# benefit: (zh, en), then card -> (times a year, market price of one)
BENEFITS = [
    (("机场贵宾室", "lounge visit"), {"travel": (4, 200), "platinum": (12, 200)}),
    (("接送机", "airport transfer"), {"platinum": (4, 250), "centurion": (12, 250)}),
    (("健康体检", "medical check-up"), {"platinum": (1, 1200), "centurion": (2, 1200)}),
    (("酒店住二付一", "hotel stay two pay one"), {"platinum": (2, 800)}),
    (("酒店免费房晚", "free hotel night"), {"centurion": (4, 800)}),
]


def cards_rows(names, k):
    rows = []
    for key in FEES:
        n = len(rows) + 4
        lo, hi = LIMITS[key]
        pts, months = POINTS[key]
        fee, supp = FEES[key], SUPP[key][k]
        rows.append([
            names[key], yuan(fee), yuan(supp) if isinstance(supp, int) else supp, None,
            yuan(lo), yuan(hi) if hi else ("不设统一上限", "no general ceiling")[k],
            C(pts), C(months) if months else ("永久", "never expires")[k],
            pct(FX[key], "pct1"), day(*LAUNCH[key]), yuan2(round(fee / 365, 2), f"ROUND(B{n}/365,2)")])
    return rows


def rate_rows(names, k):
    rows, merges = [], []
    groups = [(("标准（青春卡、金卡、旅行卡）", "Standard (Young, Gold, Travel)")[k], 1),
              (names["platinum"], 0.8), (names["centurion"], 0.6)]
    for name, factor in groups:
        first = len(rows) + 3
        for i, (months, rate) in enumerate(RATES.items()):
            n = len(rows) + 3
            rows.append([name if i == 0 else None, C(months), pct(rate, "pct2" if months == 3 else "pct1"),
                         pct(round(rate * factor, 6), formula=f"C{n}*{factor}"), None, day(2026, 1, 1),
                         None if factor == 1 else (f"手续费{round(factor * 10)}折",
                                                   f"{round(100 - factor * 100)}% off the fee")[k]])
        merges.append(f"A{first}:A{first + 3}")
    return rows, merges


def benefit_rows(names, k):
    rows = []
    for label, by_card in BENEFITS:
        for key, (times, price) in by_card.items():
            n = len(rows) + 3
            rows.append([names[key], label[k], C(times), yuan(price), yuan(times * price, f"C{n}*D{n}")])
    return rows


zh_rates, zh_rate_merges = rate_rows(ZH, 0)
en_rates, en_rate_merges = rate_rows(EN, 1)

ZH_FACTS = [
    Sheet("产品参数", [
        [t("云杉银行信用卡产品参数（2026版）")],
        h("卡种", "年费", None, None, "信用额度", None, "积分", None, "外币交易手续费", "上市日期", "折合每天"),
        h(None, "主卡", "附属卡", None, "下限", "上限", "每消费1元", "有效期（月）", None, None, None),
    ] + cards_rows(ZH, 0) + [
        [],
        ["注：额度以审批结果为准；每天成本按365天折算，未计减免。"],
    ], ["A1:K1", "A2:A3", "B2:C2", "E2:F2", "G2:H2", "I2:I3", "J2:J3", "K2:K3", "A10:K10"],
        [14, 10, 24, 3, 12, 14, 12, 14, 16, 12, 12], 3),
    Sheet("分期费率", [
        [t("分期手续费率")],
        h("卡种", "期数", "标准总费率", "优惠后总费率", None, "生效日期", "备注"),
    ] + zh_rates, ["A1:G1"] + zh_rate_merges, [28, 8, 12, 14, 3, 12, 16], 2),
    Sheet("权益价值", [
        [t("权益次数与市场价值（用于算账）")],
        h("卡种", "权益", "每年次数", "单次市价", "全年价值"),
    ] + benefit_rows(ZH, 0), ["A1:E1"], [12, 18, 10, 10, 12], 2),
    Sheet("限时活动", [
        h("活动名称", "适用卡种", "开始日期", "结束日期", "内容", "上限", "报名方式"),
        ["新春开卡礼", "白金卡", day(2026, 1, 1), day(2026, 3, 31),
         "90天内消费满5万元，在新户礼之外再送30000积分", "每人1次", "自动参加"],
        ["春夏飞行季", "旅行卡", day(2026, 4, 1), day(2026, 6, 30), "机票消费5倍积分", "每月20000积分", "App报名"],
        ["加油95折", "金卡", day(2026, 1, 1), day(2026, 12, 31), "合作加油站每周六加油95折", "每月优惠20元", "自动参加"],
        [],
        [rich(("毕业季",), "视频会员"), "青春卡", day(2026, 5, 15), day(2026, 8, 31),
         "单月消费满5笔，送1个月视频会员", "最多3个月", "App报名"],
        ["江畔音乐会", "百夫长卡", day(2026, 5, 1), day(2026, 5, 31), "管家预留双人座位，每晚20席", "每户1次", "联系管家"],
        [inline("秋季酒店周"), "旅行卡", day(2026, 9, 7), day(2026, 9, 13), "松间酒店7.5折，平日为8.8折", "最多3晚", "电话预订"],
    ], [], [16, 10, 12, 12, 40, 16, 12], 1),
]

ZH_FAQ = [
    Sheet("使用说明", [
        [t("云杉银行信用卡销售话术库")],
        ["维护：信用卡中心培训组。每季度更新一次，一行一条，话术可以口语化，数字不得改动。"],
        ["版本", "2026Q1"],
        ["发布日期", day(2026, 1, 5)],
    ], ["A1:D1", "A2:D2"], [14, 14, 30, 30]),
    Sheet("话术FAQ", [
        h("分类", "客户说法", "推荐话术", "禁用语", None, "更新日期"),
        ["价格异议", "年费太贵了", "理解您的感受。您一年飞几次？贵宾室单买200元一次，12次就是2400元，再加4次接送机，"
         "用得上的话，3600元一天不到10元。", "年费肯定能免", None, day(2026, 1, 5)],
        [None, "别的银行免年费", "免年费的卡适合日常刷。您如果常飞、常带家人，白金卡的贵宾室和接送机是免年费卡没有的。",
         "他们家的卡没用", None, day(2026, 1, 5)],
        [None, "能不能给我打个折", "年费不打折，但一年刷满20万元免次年，或者用180000积分抵扣，规则是公开的。", "我给您申请特批", None,
         day(2026, 1, 5)],
        ["需求异议", "我很少出门，用不上", "那不推荐白金卡，金卡一年刷12次免年费，日常用正合适。", "以后总会用到的", None,
         day(2026, 1, 5)],
        [None, "我平时都用手机支付", "手机支付绑定信用卡一样能刷，还有积分和最长50天免息期，金卡每消费1元得1分。", "手机支付不安全", None,
         day(2026, 1, 12)],
        ["信任异议", "你怎么有我的电话", "您是本行借记卡客户，号码来自行内系统；不想再接到电话，我马上为您登记免打扰。", "不清楚", None,
         day(2026, 1, 12)],
        [None, "你是不是骗子", "您可以挂断后拨打400-000-0168核实我的工号0271，我们不会要密码和验证码。", "骗您干什么", None,
         day(2026, 1, 12)],
        ["拖延异议", "回头再说", "好的。您主要想再看哪一点？我把那一点发短信给您，周四晚上七点再联系可以吗？", "名额马上没了", None,
         day(2026, 1, 19)],
        [None, "要问问我太太", "应该的。附属卡可以给太太用，白金卡前2张附属卡免费，我把说明发给您一起看。", "您自己做不了主吗", None,
         day(2026, 1, 19)],
    ], ["A2:A4", "A5:A6", "A7:A8", "A9:A10"], [12, 20, 60, 20, 3, 12], 1),
    Sheet("产品FAQ", [
        h("编号", "问题", "答案", "更新日期"),
        [C(1), "白金卡一天合多少钱", "年费3600元除以365天，约9.86元。", day(2026, 1, 5)],
        [C(2), "额度不够，临时要用大额怎么办", "App申请临时额度，最多上浮50%，有效期30天，到期须一次还清超出部分。", day(2026, 1, 5)],
        [C(3), "白金卡的附属卡能进贵宾室吗", "可以，和主卡共用12次。", day(2026, 1, 5)],
        [C(4), "金卡能升级白金卡吗", "可以。持金卡满24个月，满足白金卡条件后在App“信用卡—升级”提交，积分全部保留。", day(2026, 1, 12)],
        [C(5), "怎么改寄卡地址", "寄出前在App“进度查询”里修改；寄出后联系快递改派，卡片只能本人签收。", day(2026, 1, 12)],
        [C(6), "卡片到期了怎么办", "到期前60天自动寄新卡，卡号不变，需要重新激活；不想续卡的提前90天致电客服。", day(2026, 1, 19)],
        [C(7), "账单日是几号", "5日、12日、20日、26日四选一，每6个月可改一次。", day(2026, 1, 19)],
        [C(8), "自动还款绑哪张卡", "只能绑本人的云杉银行借记卡，还款日10:00和18:00各扣一次。", day(2026, 1, 19)],
    ], [], [8, 30, 70, 12], 1),
]

EN_FACTS = [
    Sheet("Cards", [
        [t("Spruce Bank card facts, 2026 edition")],
        h("Card", "Annual fee", None, None, "Credit limit", None, "Points", None, "Foreign transaction fee",
          "Launched", "Cost per day"),
        h(None, "main", "supplementary", None, "from", "to", "per ¥1", "valid, months", None, None, None),
    ] + cards_rows(EN, 1) + [
        [],
        ["Limits are subject to approval; cost per day is the fee over 365 days, waivers not counted."],
    ], ["A1:K1", "A2:A3", "B2:C2", "E2:F2", "G2:H2", "I2:I3", "J2:J3", "K2:K3", "A10:K10"],
        [14, 10, 24, 3, 12, 18, 10, 14, 22, 12, 12], 3),
    Sheet("Instalments", [
        [t("Instalment fees")],
        h("Card", "Months", "Standard total fee", "Fee after discount", None, "Effective", "Note"),
    ] + en_rates, ["A1:G1"] + en_rate_merges, [30, 8, 18, 18, 3, 12, 18], 2),
    Sheet("Benefit value", [
        [t("Benefits and their market value")],
        h("Card", "Benefit", "Times a year", "Price of one", "Value a year"),
    ] + benefit_rows(EN, 1), ["A1:E1"], [12, 24, 12, 12, 12], 2),
    Sheet("Promotions", [
        h("Promotion", "Card", "Starts", "Ends", "What", "Cap", "How to join"),
        ["New Year welcome", "Platinum", day(2026, 1, 1), day(2026, 3, 31),
         "Spend ¥50,000 within 90 days: 30,000 points on top of the welcome gift", "once a person", "automatic"],
        ["Flying season", "Travel", day(2026, 4, 1), day(2026, 6, 30), "5 points per ¥1 on flights",
         "20,000 points a month", "enrol in the app"],
        ["5% off fuel", "Gold", day(2026, 1, 1), day(2026, 12, 31), "5% off at partner stations on Saturdays",
         "¥20 a month", "automatic"],
        [],
        [rich(("Graduation",), " streaming"), "Young", day(2026, 5, 15), day(2026, 8, 31),
         "5 purchases in a month: one month of video streaming", "3 months", "enrol in the app"],
        ["Riverside concert", "Centurion", day(2026, 5, 1), day(2026, 5, 31),
         "Two seats held by the manager, 20 seats a night", "once a household", "ask your manager"],
        [inline("Autumn hotel week"), "Travel", day(2026, 9, 7), day(2026, 9, 13),
         "25% off at Pinewood Hotels instead of 12%", "3 nights", "book by phone"],
    ], [], [20, 12, 12, 12, 60, 22, 18], 1),
    Sheet("FAQ", [
        h("No.", "Question", "Answer", "Updated"),
        [C(1), "What does Platinum cost per day?", "¥3,600 over 365 days, about ¥9.86.", day(2026, 1, 5)],
        [C(2), "May a Platinum supplementary cardholder use the lounge?",
         "Yes, from the same 12 visits as the main card.", day(2026, 1, 5)],
        [C(3), "Can Gold be upgraded to Platinum?",
         "Yes, after 24 months with Gold and if the Platinum conditions are met: Credit cards → Upgrade in the app. "
         "All points are kept.", day(2026, 1, 12)],
        [C(4), "What happens when the card expires?",
         "A new card with the same number is posted 60 days before and needs activation. To leave, call 90 days before.",
         day(2026, 1, 19)],
        [C(5), "How do I change the delivery address?",
         "In the app under Application status until the card is posted; afterwards ask the courier. "
         "Only the cardholder can sign for it.", day(2026, 1, 12)],
    ], [], [6, 44, 80, 12], 1),
]


ZH_TARGETS = [
    Sheet("一季度目标", [
        [t("2026年第一季度网点核卡目标")],
        h("区域", "网点", "目标核卡数（张）", None, None, None, "每周面访（次）", "截止日期"),
        h(None, None, "金卡", "旅行卡", "白金卡", "合计", None, None),
        ["城东区", "云杉广场支行", num(120), num(60), num(45), C(225, "int", "SUM(C4:E4)"), num(30), day(2026, 3, 31)],
        [None, "松林路支行", num(90), num(36), num(14), C(140, "int", "SUM(C5:E5)"), num(18), day(2026, 3, 31)],
        ["城西区", "大学城支行", num(150), num(24), num(6), C(180, "int", "SUM(C6:E6)"), num(15), day(2026, 3, 31)],
        [None, "湖滨支行", num(70), num(48), num(32), C(150, "int", "SUM(C7:E7)"), num(24), day(2026, 3, 24)],
        ["全部网点", None, C(430, "int", "SUM(C4:C7)"), C(168, "int", "SUM(D4:D7)"), C(97, "int", "SUM(E4:E7)"),
         C(695, "int", "SUM(F4:F7)"), C(87, "int", "SUM(G4:G7)"), None],
        [],
        ["注：湖滨支行3月25日起装修，截止日期提前一周。青春卡不设目标，百夫长卡只计推荐数。"],
    ], ["A1:H1", "A2:A3", "B2:B3", "C2:F2", "G2:G3", "H2:H3", "A4:A5", "A6:A7", "A8:B8", "A10:H10"],
        [12, 18, 10, 10, 10, 10, 16, 14], 3),
    Sheet("奖金标准", [
        h("卡种", "每张奖金", None, None, "发放日期", "备注"),
        h(None, "完成率80%以下", "80%至100%", "超过100%", None, None),
        ["金卡", yuan(15), yuan(20), yuan(30), day(2026, 4, 20), "首刷后计入"],
        ["旅行卡", yuan(40), yuan(60), yuan(80), day(2026, 4, 20), "首刷后计入"],
        ["白金卡", yuan(150), yuan(220), yuan(300), day(2026, 6, 22), "安心期满后计入"],
        ["百夫长卡推荐", yuan(500), yuan(500), yuan(500), day(2026, 4, 20), "客户接受邀请后计入"],
    ], ["A1:A2", "B1:D1", "E1:E2", "F1:F2"], [16, 16, 14, 14, 14, 24], 2),
    Sheet("培训排期", [
        h("日期", "课程", "讲师", "地点", "名额"),
        [day(2026, 1, 14), "价格异议处理工作坊", "小林", "总部三楼培训室", C(24)],
        [day(2026, 2, 4), "白金卡面访演练", "小姚", "总部三楼培训室", C(16)],
        [day(2026, 2, 26), "合规红线与案例", "合规部", "线上直播", C(200)],
        [day(2026, 3, 11), "百夫长卡推荐人沙龙", "老魏", "湖滨支行贵宾厅", C(12)],
    ], [], [12, 24, 10, 18, 8], 1),
    Sheet("旧版草稿", [
        h("网点", "白金卡目标", "每张奖金"),
        ["云杉广场支行", num(88), yuan(999)],
        ["已作废，以正式表为准"],
    ], [], [18, 14, 12], 1, hidden=True),
]


def main():
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and re.match("-", sys.argv[1])):
        sys.stderr.write("usage: make_sample_files.py [OUTPUT_DIRECTORY]\n")
        return 2
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = sys.argv[1] if len(sys.argv) == 2 else os.path.join(here, "sample", "docs")
    for path, title, sheets in (
            ("zh/cards/product-facts.xlsx", "云杉银行信用卡产品参数", ZH_FACTS),
            ("zh/sales/sales-faq.xlsx", "云杉银行信用卡销售话术库", ZH_FAQ),
            ("zh/sales/q1-targets.xlsx", "云杉银行2026年第一季度核卡目标", ZH_TARGETS),
            ("en/cards/product-facts.xlsx", "Spruce Bank card facts", EN_FACTS)):
        write_workbook(os.path.join(root, *path.split("/")), title, sheets)
        print(path)
    for path, source, write in (
            ("zh/fees/card-terms.pdf", "zh-card-terms.txt", write_pdf),
            ("en/cards/welcome-guide.pdf", "en-welcome-guide.txt", write_pdf),
            ("zh/sales/visit-training.docx", "zh-visit-training.txt", write_docx),
            ("en/sales/branch-guide.docx", "en-branch-guide.txt", write_docx)):
        write(os.path.join(root, *path.split("/")), *read_source(os.path.join(here, "sample", "src", source)))
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
