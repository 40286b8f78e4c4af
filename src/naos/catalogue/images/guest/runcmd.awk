# The commands of `runcmd`, one shell line each: a string as it is, a list with every word quoted.
function unescape(text,    result, place, code) {
    while ((place = index(text, "\\")) > 0) {
        code = substr(text, place + 1, 1)
        result = result substr(text, 1, place - 1) (code == "n" ? "\n" : code == "t" ? "\t" : code)
        text = substr(text, place + 2)
    }
    return result text
}
function quoted(text) {
    gsub(/'/, "'\\''", text)
    return "'" text "'"
}
$1 ~ /^runcmd\// {
    split($1, part, "/")
    if (part[2] != number && number != "") print line
    if (part[2] != number) line = ""
    number = part[2]
    line = (3 in part) ? line (line == "" ? "" : " ") quoted(unescape($2)) : unescape($2)
}
END { if (number != "") print line }
