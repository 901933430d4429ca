"""Words that say how something is named: as the answer, not at all, perhaps, instead of what was said before.
Patterns of alternatives by language; all repetitions are bounded, so that they take linear time."""

import re


def either(*rows: str) -> str:
    """Alternatives, in rows."""
    return "|".join(rows)


# All things but one: the "but" ends no clause.
_ALL = (
    *(
        "anything",
        "everything",
        "everyone",
        "all",
        "all of them",
        "all of these",
        "all of those",
        "all others",
    ),
    *(
        f"{every} {one}"
        for every in ("any", "every", "each")
        for one in ("option", "choice", "answer", "letter")
    ),
    *(
        f"all {of}{ones}"
        for of in ("", "the ", "of the ", "other ", "the other ", "of the other ")
        for ones in ("options", "choices", "answers", "letters", "others", "rest")
    ),
)
_NOT_ALL = "".join(rf"(?<!{said} )" for said in _ALL)
# What stands before a thing that is denied, within its clause.
_DENIES = either(
    r"not(?! least)|\w{1,9}n't|cannot|never|no(?! (?:doubt|question|other than)\b)|none(?! other)",
    r"neither|nor|nothing(?! (?:but|except|other than)\b)|nobody|lacks?|zero",
    r"least(?<!at least)|most unlikely",
    r"less (?:likely|plausible|probable|accurate|fitting|convincing)",
    r"(?:worst|weakest|poorest|wrong) (?:choice|option|answer|fit|match|candidate|label)",
    r"(?:opposite|contrary|reverse|inverse|negation) (?:of|to)|(?:false|untrue|a (?:lie|myth|mistake)) that",
    r"without(?! (?:any |a )?doubt)|instead of|except|excluding|excludes?d?|unlike|unlikely|[a-j] over",
    r"(?:free|absence|lack|devoid) (?:of|from)|eliminat\w{1,5}|rul(?:e|es|ed|ing) out|reject\w{0,4}",
    r"(?:prefer|choos|chose|pick|favou?r)\w{0,3} \S{1,20} over|(?<!other )than|prefer\w{0,4} \S{1,20} to",
    rf"dismiss\w{{0,4}}|discard\w{{0,4}}|(?:{'|'.join(_ALL)}) (?:but|save)",
    r"(?<!none )(?<!no )other than|far from|wrong|incorrect",
    r"nicht|nichts|kein\w{0,2}|weder|außer|statt|bis auf|gegenteil von|alles andere als",
    r"pas|rien|ni|aucune?s?|sauf|sans|jamais|contraire de",
    r"sin|nada|ning[uú]n\w{0,2}|excepto|salvo|nunca|menos|(?:contrario|contr[aá]rio) (?:de|a)",
    r"não|nem|sem|nenhum\w{0,2}|exceto|non|niente|nulla|né|senza|nessun\w{0,2}|tranne|eccetto|fuorché",
    r"не|ничего|ни|кроме|без|нет|ليس|ليست|لا|لم|باستثناء|بدون",
    r"không(?: phải)?|chưa|bukan|tidak|niet|geen|nie|żaden|inte|ingen|ikke|değil",
)
# Of scripts without spaces: wherever they stand.
_DENIES_ANYWHERE = either(
    "不是|不选|不選|不应选|不可能是|排除|除了|并非|並非|而非|没有|沒有|並無|并无",
    "未见|未見|未发现|未發現|不存在|无(?!法)|無(?!法)|不(?!过|過|仅|僅)",
)
BEFORE_DENIES = re.compile(
    rf"(?:(?:^|[^\w'])(?:{_DENIES})(?:[\s\"'*(\[]+[\w'’-]{{1,20}}){{0,4}}|(?:{_DENIES_ANYWHERE})[^\s,.;]{{0,8}}"
    r"|(?:^|\W)(?:non-?|0(?: (?:cases?|instances?|signs?|counts?) of)?))"
    r"[\s\"'*(\[]{0,4}$",
    re.IGNORECASE,
)
FALSE_THAT = re.compile(
    r"(?<!\w)(?:false|untrue|incorrect|wrong|a lie|a myth|(?:not|n't) (?:true|so|correct|right|the case))"
    r" (?:that|to say(?: that)?)(?!\w)",
    re.IGNORECASE,
)
# What stands behind it.
_IS = r"(?:is|are|was|were|seems?|looks?|(?:would|can|could|must|should|may|has|have) (?:be|been|also be)|be)"
_SURELY = r"(?:(?:clearly|definitely|certainly|also|therefore|thus|obviously|probably|likely|simply|just) )?"
_LIKELY = r"(?:likely|plausible|probable|accurate|fitting|convincing|suitable|appropriate)"
_CHOICE = r"(?:choice|option|answer|fit|match|candidate|label|of (?:all|them|these))"
_NOT_SO = either(
    r"not\b|no\b|never\b|out\b|wrong|incorrect|false|ruled out|excluded|eliminated|rejected|discarded",
    r"implausible|impossible|absent|inaccurate|inconsistent|unsupported|untrue|far from|anything but",
    r"(?:(?:very|highly|most|the most) )?unlikely|less (?:likely|plausible|probable|accurate|fitting)",
    r"(?:an? |the )(?:distractor|lie|mistake|trap|(?:wrong|incorrect|false|bad|poor) \w)",
    rf"(?:by far )?(?:the )?(?:least {_LIKELY}|(?:worst|weakest|poorest)(?: {_CHOICE}|(?!\s?\w)))",
)
_UNTRUE = either(
    r"(?:a lie|a mistake|an error|nonsense|false|wrong|untrue|incorrect",
    r"not (?:true|so|right|correct|the case))",
)
_IS_ABROAD = r"(?:ist|sind|est|sont|es|son|é|são|estão|está|è|sono|is|zijn|är|er|jest|adalah|là)"
_NOT_SO_ABROAD = either(
    r"(?:nicht|pas|no|não|non|niet|inte|ikke|falsch|faux|fausses?|falla|fals[oa]s?|incorrect[oae]s?|incorrectes?",
    r"incorret[oa]s?|errad[oa]s?|errat[oaie]|sbagliat[oaie]|fout|onjuist|fel|forkert|feil|błędn\w{1,3}|salah|sai)",
)
AFTER_DENIES = re.compile(
    r"[\s\"'*_)\]]{0,4}(?:"
    + either(
        rf"(?:which |that )?{_IS} {_SURELY}(?:{_NOT_SO})",
        r"(?:is|are|was|were|does|do|did|would|could|should|has|have|ca|wo)n't\b",
        r"(?:does|do|did|can|could|would|will|has|have) ?(?:not|never)\b|never\b|lacks\b|fails\b",
        r"(?:can be )?(?:ruled out|excluded|eliminated)|out\b|contradicts\b|has (?:no|nothing)\b|-free\b",
        r"(?:fits|matches|suits)(?: the)? (?:worst|least|poorly|badly)\b|makes (?:no|little) sense\b",
        rf"[,;]? ?(?:which|that|this) (?:is|was) {_SURELY}{_UNTRUE}(?!\w)",
        rf"{_IS_ABROAD} {_NOT_SO_ABROAD}(?!\w)|n['’]est pas\b|(?:não|non|no) (?:é|è|es)(?!\w)",
        r"(?:не|tidak|bukan|không)(?!\w)|неверн|неправильн|yanlış",
        r"нет\b|(?:nicht|pas|não|non|değil|नहीं)(?!\w)",
        r"(?:也|都|均|皆|是)?(?:不对|不對|不正确|不正確|错误|錯誤|不是|错|錯|不符|可以排除|被排除)",
        r"(?:では|じゃ)(?:ありません|ない|なく)|以外|は(?:間違い|誤り|違)|(?:가|이|은|는|을|를)?\s?(?:아니|아닙|아닌|틀|제외)",
    )
    + ")",
    re.IGNORECASE,
)
# What follows one thing, and not several.
OF_ONE = re.compile(
    r"[\s\"'*_)\]]{0,4}(?:is|was|has|does|seems|looks|isn't|wasn't|hasn't|doesn't|lacks|fails|contradicts)(?!\w)",
    re.IGNORECASE,
)
# A verdict behind each of several: "A: No", "B ✓", "C. Incorrect", "| D | yes |"; or a box before each.
_LINK = r"[\s\"'*_()\]:|.?–—=-]{1,8}"
_END = r"(?=[\s*_)\]]{0,3}(?:[.,;|\n(–-]|$))"
_TICK = r"[\s:|*)\].–-]{0,6}"
_NO = either(
    r"(?:no|nope|false|wrong|incorrect|absent|nein|non|falsch|faux|нет",
    r"not(?: at all| really| \w{1,12}ed| (?:seen|shown|visible|present|found|there|likely|correct|right",
    r"true))?)",
)
_NONE = r"(?:0|zero|none)(?![\w%])(?![.,:]\s?\d|\s?[–-]\s?\d)"
AFTER_NO = re.compile(
    rf"{_LINK}{_NO}{_END}|{_TICK}[✗✘❌✕✖×❎]|[\s\"'*_)\]]{{0,4}}[:=|]\s{{0,3}}[\"'*]{{0,2}}{_NONE}",
    re.IGNORECASE,
)
AFTER_YES = re.compile(
    rf"{_LINK}(?:yes|true|correct|right|ja|oui|vrai|richtig|да){_END}|{_TICK}[✓✔✅☑]", re.IGNORECASE
)
BEFORE_NO = re.compile(
    r"(?:(?:^|\s)\[ {0,2}\]|☐|(?:^|\n)[\s>*-]{0,6}[❌✗✘])[\s*(]{0,3}$|(?<![^\s\"'*(:=])!$|(?:[¬≠]|!=|<>)\s?$"
    r"|(?<!\w)(?:incorrect|wrong|false|excluded|eliminated|ruled out|rejected|falsch|faux|错误|錯誤)"
    r"(?: (?:options?|answers?|choices?|classes))?[*_\"']{0,3}:[\s*_\"'(]{0,4}$",
    re.IGNORECASE,
)
BEFORE_YES = re.compile(r"(?:(?:^|\s)\[[xX✓✔]\]|☑|(?:^|\n)[\s>*-]{0,6}[✅✔✓])[\s*(️]{0,3}$")
# Said on a condition, which is not said to hold; not of how it was chosen ("if I had to guess, B").
ON_CONDITION = re.compile(
    r"(?:^|[.;!?\n])\s{0,3}(?:(?:if|unless|in case of|wenn|falls|si|se|если)\s|如果|若)"
    r"(?!(?:i|we|you|one|forced|pressed|asked|only|that|this|so|any|anything|necessary|possible)(?!\w))"
    r"[^.;!?:,\n]{1,60}(?::|, then|then|→|->|=>)\s{0,3}(?:the answer is |answer )?[\s\"'*(\[]{0,4}$",
    re.IGNORECASE,
)
# Said only perhaps, or on the way to an answer.
_PERHAPS = either(
    r"first (?:thought|guess|impression)|thought (?:of|about|it was)|initial(?:ly)?|at first|originally",
    r"if\b|whether|might|could|may\b|maybe|perhaps|possibly|seem(?:s|ed)?|looks? like|resembl\w{1,4}",
    r"compar(?:e|ed|ing)|consider(?:ed|ing)?|versus|\bvs\b|between|either|undecided|decide|tempting",
    r"would have|(?:as|even) though|although|vielleicht|peut-être|quizás?|talvez|forse|возможно|может быть",
    r"ربما|是否|可能|也许|也許|或许|もしかし|かもしれ|아마",
)
BEFORE_PERHAPS = re.compile(rf"(?:^|\W)(?:{_PERHAPS})[^.;!?\n]{{0,60}}$", re.IGNORECASE)
AFTER_PERHAPS = re.compile(
    r"[\s\"'*_)\]]{0,4}(?:also |both )?(?:"
    + either(
        r"(?:seems?|looks?|is|are|was|were|appears?) (?:also |both |more |quite )?"
        r"(?:plausible|tempting|possible|close|conceivable)",
        r"would\b|might\b|could\b|may\b|comes? close|if\b|はあり|かもしれ",
    )
    + ")",
    re.IGNORECASE,
)
# What follows takes back what was said before.
CORRECTS = re.compile(
    r"(?<!\w)(?:"
    + either(
        r"(?:no|oh|hmm|hm|oops)?[,.]{0,3} ?wait|actually|correction|scratch that|strike that|or rather",
        r"on (?:second thoughts?|reflection)|let me (?:correct|rethink|reconsider|re-?check)|looking again",
        r"i (?:now )?(?:change|correct|revise)|hmm,? no|i mean[t]?|my mistake|sorry, (?:i|it|the answer)",
        r"sorry(?=[,:.]? [\[(<*]{0,2}(?:$|\d))|hm{1,3}(?=[,.]? ?$)|no(?=, $)",
        r"moment mal|en fait|en realidad|na verdade|anzi|вернее|точнее",
    )
    + r")(?!\w)|不对[,，]|不對[,，]|等等|等一下|更正|实际上|實際上|其实|其實|いや[、,]|訂正|아니, ",
    re.IGNORECASE,
)
# Said at the end of reasoning in plain words.
CONCLUDES = re.compile(
    r"(?<!\w)(?:"
    + either(
        r"final(?:ly)?|therefore|thus|hence|so|(?:in )?conclusion|overall|in summary|to sum up",
        r"donc|daher|also ist|por (?:lo )?tanto|portanto|quindi|итак|поэтому",
    )
    + r")(?!\w)[^.;!?\n]{0,60}$|(?:因此|所以|综上|綜上|最终|最終|よって|したがって|따라서)[^.;!?\n]{0,30}$",
    re.IGNORECASE,
)
# Where a clause ends, before which nothing denies what stands behind it.
CLAUSE = re.compile(
    rf"[.;:!?\n,|–—→]|(?<!\w)(?:{_NOT_ALL}but|however|yet|instead(?! of)|sondern|aber|mais|sino|pero"
    r"|mas|ma|maar|lecz|utan|melainkan|но|а|لكن|बल्कि)(?!\w)|而是|但是?|では(?:なく|ありません)|아니라",
    re.IGNORECASE,
)
# What joins several into one answer, and what leaves open which.
_DRESS = r"[\s\"'*()\[\]_]"
JOINED = re.compile(
    rf"{_DRESS}{{0,6}}(?P<joint>[,;/&+|\n–-]|"
    r"(?:and|as well as|und|et|e|y|и|و|và|dan|ve|和|与|及|と|와|과|및)(?!\w))?"
    rf"(?:{_DRESS}|-){{0,6}}(?:(?:also|as well as|a case of|an?|the|options?|possibly|maybe|and)\s){{0,2}}"
    rf"{_DRESS}{{0,3}}",
    re.IGNORECASE,
)
OPEN = re.compile(
    rf"(?:{_DRESS}|[,.]){{0,6}}(?:or|nor|oder|ou|o|u|или|أو|hoặc|atau|veya|of|vs\.?|versus|或者?|还是|還是"
    rf"|または|か|또는|이나|/){_DRESS}{{0,4}}(?:(?:maybe|perhaps|possibly|an?|the|options?|also)\s){{0,2}}"
    rf"{_DRESS}{{0,3}}",
    re.IGNORECASE,
)
REFUSES = re.compile(
    r"(?<!\w)(?:cannot|can't|can not|unable|not (?:able|sure|possible)|do(?:n't| not) know|no idea|none of"
    r"|sorry)(?!\w)|无法|無法|わかりません|모르",
    re.IGNORECASE,
)
# Articles and pronouns that look like letters, unless one of these words follows them.
FOLLOWS_A_LETTER = re.compile(
    r"[^\S\n]{0,3}\n|\s{0,3}(?:$|[^\w\s]|[^\x00-\x7f]|[A-J](?!\w)|(?:"
    + either(
        r"is|are|was|were|isn't|wasn't|and|or|nor|but|not|because|since|as|fits|matches|seems|looks",
        r"would|could|can|cannot|can't|may|might|must|should|does|doesn't|has|shows|describes|depicts",
        r"best|it|here|so|then|if|which|that|ist|est|es|instead of|rather than|over [A-J]",
    )
    + r")(?!\w))",
    re.IGNORECASE,
)
