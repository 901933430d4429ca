"""Yes, no, anomaly and normal in the languages in which answers come. docs/answers.md shows the table."""

from tvad.answer.words import either

# language: (yes, no), where the word stands as an answer; _ is a blank.
LANGUAGES = {
    "English": (
        "yes yeah yep yup y true affirmative positive correct i_think_so i_believe_so",
        "no nope n none not false negative i_don't_think_so i_don't_believe_so",
    ),
    "Chinese": ("是的 是 有的 有 对 對 存在 会", "不是 否 没有 沒有 无 無 不 不存在 並無 并无"),
    "Japanese": ("はい ええ ある あります", "いいえ いえ ない ありません なし"),
    "Korean": ("네 예 있습니다 있음 있다", "아니요 아니오 아뇨 아니 없습니다 없음 없다"),
    "German": ("ja", "nein"),
    "French": ("oui", "non"),
    "Spanish": ("sí si", "no"),
    "Portuguese": ("sim", "não nao"),
    "Italian": ("sì", "no"),
    "Dutch": ("ja", "nee neen"),
    "Swedish, Danish, Norwegian": ("ja", "nej nei"),
    "Polish": ("tak", "nie"),
    "Russian, Ukrainian": ("да так", "нет ні"),
    "Turkish": ("evet var", "hayır yok"),
    "Arabic": ("نعم", "لا كلا"),
    "Persian": ("بله", "خیر نه"),
    "Hindi": ("हाँ हां", "नहीं"),
    "Vietnamese": ("có", "không"),
    "Indonesian, Malay": ("ya", "tidak tiada"),
    "Thai": ("ใช่ มี", "ไม่ใช่ ไม่มี ไม่"),
    "Greek": ("ναι", "όχι"),
    "Hebrew": ("כן", "לא"),
}
# What an anomaly is called; denied it is none. Those of unspaced scripts and Arabic wherever they stand.
ANOMALY = either(
    r"anomal(?:y|ies|ous(?:ly)?)|abnormal(?:ly|it(?:y|ies))?|unusual(?:ly)?|irregular(?:it(?:y|ies))?",
    r"suspicious(?:ly)?|out of the ordinary|misbehav\w{1,4}",
    r"anomal(?:ie|ien|ía|ías|ia|ias|iyi|i)|anómal[oa]s?|anormal(?:e|es|ement|is|mente)?|in(?:hab)?itual\w{0,3}",
    r"inusual\w{0,3}|auffällig\w{0,8}|ungewöhnlich\w{0,4}|аномал\w{1,4}|необычн\w{1,4}|ненормальн\w{1,4}",
    r"bất thường|anomalli|anomalii|anormallik|keanehan|afwijk\w{1,6}|nieprawidłow\w{1,5}",
)
ANOMALY_ANYWHERE = r"异常|異常|反常|可疑|不正常|이상|비정상|غير طبيعي\w{0,2}|شذوذ|असामान्य|विसंगति|ผิดปกติ"
# What is called normal, where it is said of the video or of all of it.
NORMAL = either(
    r"non-?\s?(?:anomal(?:y|ous)|abnormal)|normal(?:ly)?|ordinary|usual|routine|as expected|harmless",
    r"normale|normales|normalny|unauffällig|нормальн\w{1,4}|bình thường",
)
NORMAL_ANYWHERE = "正常|普通|정상|طبيعي|सामान्य|ปกติ"
# All is well: said of everything already.
ALL_WELL = either(
    r"(?:everything|all)(?: is|['’]s| looks| seems| appears)(?: perfectly| quite)? (?:fine|ok|okay|well|good",
    r"in order|all ?right|alright)|nothing(?: is|['’]s)? (?:wrong|amiss|off)",
    r"alles(?: ist)? (?:in ordnung|gut|ok)",
    r"tout va bien|todo (?:está )?bien|todo en orden|tudo (?:está )?bem|tutto (?:va )?bene",
    r"все (?:в порядке|хорошо)|没有问题|問題(?:は)?ありません|問題なし",
)
# Behind an anomaly that is denied: "Anomaly: none", "異常はありません", "असामान्य घटना नहीं".
_KINDS = r"situation|event|behaviou?r|activity|行为|情况|情況|현상|행동|な(?:行動|点|出来事)"
_WHAT = rf"(?:(?:{_KINDS})\w{{0,3}}\s{{0,2}})?"
_HEADING = (
    r"(?:[\s_]{0,2}(?:detected|detection|present|presence|found|observed|status|type|types|count|number|total"
    r"|result|verdict|existence)(?!\w)){0,2}[\s\"'*_)]{0,4}"
)
_NONE = either(
    r"(?:none|no|nope|false|absent|not|nothing|zero|nil|0(?![.,:]?\d|\s?%)|无|無|否|没有|なし|없음",
    r"nein|keine?|non|aucune?|ningun[oa]|ninguna|nenhum|nenhuma|nessun[ao]?|não",
    r"nee|geen|nej|ingen|nie|brak|нет",
    r"yok|hayır|tidak ada|không)(?!\w)",
)
DENIED_BEHIND = rf"[\s\"'*_)]{{0,3}}{_WHAT}(?:" + either(
    rf"{_HEADING}(?:[:=?|]|\s-{{1,2}}(?=\s)|->|→)[\s\"'*_]{{0,5}}(?:{_NONE}|\[\s?\])",
    rf"{_HEADING}[:=|-]{{0,2}}\s{{0,2}}[✗✘❌✕✖×❎]",
    r"(?:is|are|was|were|equals?) (?:exactly )?(?:zero|nil|none|0)(?![.,]?\d|\s?%|\w)",
    r"(?:is|are|was|were|can be|could be)?\s?(?:not|never|absent|нет|не)(?!\w)",
    r"(?:such as|like|including|of|or) [^.,;:!?\n]{1,40}? (?:is|are|was|were)"
    r" (?:not|never|absent|missing)(?!\w)",
    r"(?:is|are|was|were|has|have|does|do)n't|不(?:存在|明显)",
    r"があるとは(?:思え|思いません|思わな|言え|考えにく)",
    r"(?:は|が)?(?:ほとんど|全く|まったく|特に)?(?:ありません|ない|なし"
    r"|(?:見られ|見当たり|認められ|確認され|検出され)ません)",
    r"(?:이|가) 있다고 (?:생각하|보)지(?:는)? 않",
    r"(?:가|이|은|는|도)?\s?(?:(?:거의|전혀)\s)?(?:없|아니|보이지 않|발견되지 않)",
    r"(?:\s\S{1,20}){0,2}\s?(?:नहीं|नही|yok|değil|sanmıyorum|düşünmüyorum|görmüyorum|şüpheliyim)",
) + ")"  # fmt: skip
# A figure of how likely it is, which says neither yes nor no.
_LIKELIHOOD = r"score|probability|likelihood|confidence|chance|odds|risk|rating|index|level"
SCORED_BEHIND = either(
    rf"[\s_]{{0,2}}(?:{_LIKELIHOOD})(?!\w)",
    r"[\s\"'*_)]{0,4}[:=][\s\"'*_]{0,4}(?:\d{0,9}[.,]\d|\d{1,9}\s?%|null|n/?a(?!\w)|unknown|unclear)",
)
SCORED_BEFORE = either(
    rf"(?<!\w)(?:{_LIKELIHOOD})(?!\w) (?:of|for|that)(?!\w)",
    r"(?<!\d)(?:[0-4]?\d|50)(?:[.,]\d{1,9})?\s?%",
)
# More of them denied, beside those that were said.
FURTHER = (
    r"(?<!\w)(?:no|not|any|without|never|n't)(?: \w{1,12}){0,2}"
    r" (?:further|other|additional|more|second)(?: \w{1,12})?\s?$"
)
# Not said whether.
UNDECIDED = (
    r"(?<!\w)(?:"
    + either(
        r"(?:cannot|can['’]?t|unable to|impossible to) (?:determine|tell|say|decide|judge|know|confirm"
        r"|be(?! (?:den|doubt|disput|ignor)))",
        r"unsure|not (?:sure|certain|clear|possible|enough)|unclear|depends?|whether|if|hard to|difficult to",
        r"(?:can|could|may|must|should)(?:not|n?['’]t| not)"
        r" (?:be )?(?:rule|exclude|dismiss|eliminate|discount)\w{0,2}",
        r"n['’]est pas exclu|nicht auszuschließen|no se puede descartar|нельзя исключ",
        r"counts? as|what is|would be|could be|might be|may be|at first|initially|first glance",
    )
    + r")(?!\w)|无法|無法|不能确定|不确定|不確定|是否|难以"
    r"|わかりません|分かりません|判断できません|알 수 없|모르"
)
