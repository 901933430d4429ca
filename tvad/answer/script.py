"""Characters of other scripts that say what ASCII says: full-width digits, brackets, commas, dashes."""

FULL_WIDTH = {0xFF10 + i: ord("0") + i for i in range(10)} | {
    0xFF0C: ",",
    0xFF0E: ".",
    0xFF1A: ":",
    0xFF3B: "[",
    0xFF3D: "]",
    0xFF0D: "-",
    0x2212: "-",
    0x2013: "-",
    0xFF05: "%",
    0x3001: ",",
}
