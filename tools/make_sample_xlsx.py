#!/usr/bin/env python3
"""Write the three workbooks of the sample knowledge base (sample/docs/**/*.xlsx).

Standard library only; the same source always gives the same bytes. The workbooks are shaped as teams
keep them: a merged title, header cells merged across and down, an empty column between blocks, dates,
amounts and percentages stored as formatted numbers, a formula with its cached value, a few cells with
rich text or stored inline, an empty row inside the data.

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

Usage: make_sample_xlsx.py [OUTPUT_DIRECTORY]      (default: sample/docs beside this script's folder)
"""
import datetime
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
    def __init__(self, name, rows, merges=(), widths=(), freeze=0):
        self.name, self.rows, self.merges, self.widths, self.freeze = name, rows, merges, widths, freeze


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
        book.append(f'<sheet name="{escape(s.name)}" sheetId="{i}" r:id="rId{i}"/>')
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
    parts["docProps/core.xml"] = (
        f'{HEAD}<cp:coreProperties xmlns:cp="{PKG}/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<dc:title>{escape(title)}</dc:title><dc:creator>Spruce Bank (fictitious)</dc:creator>"
        '<dcterms:created xsi:type="dcterms:W3CDTF">2026-01-05T09:00:00Z</dcterms:created>'
        "</cp:coreProperties>")
    parts["_rels/.rels"] = (
        f'{HEAD}<Relationships xmlns="{PKG}/relationships">'
        f'<Relationship Id="rId1" Type="{REL}/officeDocument" Target="xl/workbook.xml"/>'
        f'<Relationship Id="rId2" Type="{PKG}/relationships/metadata/core-properties" '
        'Target="docProps/core.xml"/></Relationships>')
    order = ["[Content_Types].xml", "_rels/.rels", "docProps/core.xml", "xl/workbook.xml",
             "xl/_rels/workbook.xml.rels", "xl/styles.xml", "xl/sharedStrings.xml"]
    parts["[Content_Types].xml"] = "".join(types)
    order += [f"xl/worksheets/sheet{i}.xml" for i in range(1, n + 1)]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with zipfile.ZipFile(path + ".tmp", "w") as z:
        for name in order:
            info = zipfile.ZipInfo(name, STAMP)
            info.compress_type = zipfile.ZIP_STORED  # no deflate: the bytes do not depend on zlib's version
            info.external_attr = 0o644 << 16
            info.create_system = 3
            z.writestr(info, parts[name].encode("utf-8"))
    os.replace(path + ".tmp", path)


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


def main():
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and re.match("-", sys.argv[1])):
        sys.stderr.write("usage: make_sample_xlsx.py [OUTPUT_DIRECTORY]\n")
        return 2
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = sys.argv[1] if len(sys.argv) == 2 else os.path.join(here, "sample", "docs")
    for path, title, sheets in (
            ("zh/cards/product-facts.xlsx", "云杉银行信用卡产品参数", ZH_FACTS),
            ("zh/sales/sales-faq.xlsx", "云杉银行信用卡销售话术库", ZH_FAQ),
            ("en/cards/product-facts.xlsx", "Spruce Bank card facts", EN_FACTS)):
        write_workbook(os.path.join(root, *path.split("/")), title, sheets)
        print(os.path.join(root, *path.split("/")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
