# Flattens YAML (or JSON) to lines of path <tab> value: {a: {b: [x]}} is "a/b/0 <tab> x". In values, backslash, tab and newline are
# written \\, \t and \n. Read are block and flow collections, plain, quoted, folded and literal scalars, comments and tags;
# anchors are not. What cannot be read ends the output with a line "! <tab> line N: reason".
{ sub(/\r$/, ""); line[NR] = $0 }

function fail(why) {
    if (!failed) print "!\tline " at ": " why
    failed = 1
    at = NR + 1
}

function emit(path, text) {
    gsub(/\\/, "&&", text)
    gsub(/\t/, "\\t", text)
    gsub(/\n/, "\\n", text)
    if (!failed) print path "\t" text
}

function indent_of(text) {
    match(text, /^ */)
    return RLENGTH
}

function trim(text) {
    sub(/^[ \t]+/, "", text)
    sub(/[ \t]+$/, "", text)
    return text
}

function below(path, key) {
    return path == "" ? key : path "/" key
}

# skip: to the next line that says something.
function skip() {
    while (at <= NR && line[at] ~ /^[ \t]*(#.*)?$/) at++
    if (at <= NR && line[at] ~ /^ *\t/) fail("a tab where spaces belong")
}

# uncommented: a plain text up to its comment.
function uncommented(text) {
    if (text ~ /^#/) return ""
    if (match(text, /[ \t]#/)) text = substr(text, 1, RSTART - 1)
    return trim(text)
}

# closing: where the quoted text that begins `text` ends, or 0.
function closing(text,    quote, i, char) {
    quote = substr(text, 1, 1)
    for (i = 2; i <= length(text); i++) {
        char = substr(text, i, 1)
        if (quote == "\"" && char == "\\") i++
        else if (char == quote) {
            if (quote == "'" && substr(text, i + 1, 1) == "'") i++
            else return i
        }
    }
    return 0
}

# unquoted: the meaning of a quoted text with its quotes.
function unquoted(text,    inner, result, i, char) {
    inner = substr(text, 2, length(text) - 2)
    if (substr(text, 1, 1) == "'") {
        gsub(/''/, "'", inner)
        return inner
    }
    for (i = 1; i <= length(inner); i++) {
        char = substr(inner, i, 1)
        if (char == "\\") {
            char = substr(inner, ++i, 1)
            if (char == "u" || char == "x") {
                result = result character(substr(inner, i + 1, char == "u" ? 4 : 2))
                i += char == "u" ? 4 : 2
                continue
            }
            if (char == "n") char = "\n"
            else if (char == "t") char = "\t"
            else if (char == "r") char = "\r"
            else if (char == "0") char = ""
        }
        result = result char
    }
    return result
}

# character: UTF-8 of a code point in hexadecimal.
function character(digits,    i, code) {
    digits = tolower(digits)
    for (i = 1; i <= length(digits); i++) code = code * 16 + index("0123456789abcdef", substr(digits, i, 1)) - 1
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
}

# key_end: length of the key that begins `text`, quotes included, or 0 when it is no `key: value`.
function key_end(text,    end) {
    if (text ~ /^["']/) {
        end = closing(text)
        return end && substr(text, end + 1) ~ /^[ \t]*:([ \t]|$)/ ? end : 0
    }
    if (text ~ /^[[{|>&*!%@`#]/) return 0
    if (!match(text, /:([ \t]|$)/)) return 0
    end = RSTART - 1
    return match(text, /[ \t]#/) && RSTART < end ? 0 : end
}

# node: the collection or scalar whose first line is at `at`, indented by `indent`.
function node(indent, path,    text) {
    text = substr(line[at], indent + 1)
    if (text ~ /^-([ \t]|$)/) sequence(indent, path)
    else if (key_end(text)) mapping(indent, path)
    else {
        at++
        value(text, indent - 1, path)
    }
}

function mapping(indent, path,    text, end, key, rest) {
    for (skip(); at <= NR; skip()) {
        if (line[at] ~ /^(---|\.\.\.)([ \t]|$)/ || indent_of(line[at]) < indent) return
        if (indent_of(line[at]) > indent) return fail("unexpected indentation")
        text = substr(line[at], indent + 1)
        end = key_end(text)
        if (!end) return fail("`key: value` expected")
        key = substr(text, 1, end)
        if (key ~ /^["']/) key = unquoted(key)
        key = trim(key)
        rest = trim(substr(text, end + 1))
        sub(/^:[ \t]*/, "", rest)
        at++
        child(rest, indent, below(path, key), 0)
    }
}

function sequence(indent, path,    number, text) {
    for (skip(); at <= NR; skip()) {
        if (indent_of(line[at]) != indent) {
            if (indent_of(line[at]) > indent) fail("unexpected indentation")
            return
        }
        text = substr(line[at], indent + 1)
        if (text !~ /^-([ \t]|$)/) return
        text = substr(text, 2)
        if (trim(text) ~ /^-([ \t]|$)/ || key_end(trim(text))) {
            # What follows the dash is itself a collection: the dash counts as indentation.
            line[at] = substr(line[at], 1, indent) " " text
            node(indent_of(line[at]), below(path, number + 0))
        } else {
            at++
            child(trim(text), indent, below(path, number + 0), 1)
        }
        number++
    }
}

# child: what stands behind `key:` or a dash, on the same line or on the next ones.
function child(rest, indent, path, in_sequence,    next_indent) {
    while (match(rest, /^[!&][^ \t]*([ \t]+|$)/)) {
        if (rest ~ /^&/) return fail("anchors are not read")
        rest = substr(rest, RLENGTH + 1)
    }
    if (uncommented(rest) != "") return value(rest, indent, path)
    skip()
    next_indent = at <= NR ? indent_of(line[at]) : -1
    if (next_indent > indent) node(next_indent, path)
    else if (!in_sequence && next_indent == indent && substr(line[at], indent + 1) ~ /^-([ \t]|$)/) sequence(indent, path)
    else emit(path, "")
}

# value: a scalar or flow collection that begins with `text`; lines indented by more than `indent` belong to it.
function value(text, indent, path,    end, more) {
    if (text ~ /^[|>]/) return block(text, indent, path)
    if (text ~ /^\*/) return fail("aliases are not read")
    if (text ~ /^[[{]/) return flow(text, path)
    if (text ~ /^["']/) {
        while (!(end = closing(text)) && at <= NR) text = continued(text, trim(line[at++]))
        if (!end) return fail("a quote is not closed")
        if (uncommented(substr(text, end + 1)) != "") return fail("text after a closing quote")
        return emit(path, unquoted(substr(text, 1, end)))
    }
    text = uncommented(text)
    while (at <= NR && line[at] !~ /^[ \t]*(#.*)?$/ && indent_of(line[at]) > indent) {
        more = uncommented(trim(line[at]))
        if (key_end(more)) return fail("a key where a text goes on")
        text = text " " more
        at++
    }
    emit(path, text ~ /^(~|null|Null|NULL)$/ ? "" : text)
}

# continued: one more line of a double-quoted or single-quoted text.
function continued(text, more) {
    if (text ~ /\\$/) return substr(text, 1, length(text) - 1) more
    return text (more == "" ? "\n" : (text ~ /\n$/ ? "" : " ") more)
}

# block: a literal (|) or folded (>) text.
function block(head, indent, path,    text, own, blank, folded, started, row) {
    folded = head ~ /^>/
    own = match(head, /[1-9]/) ? (indent < 0 ? 0 : indent) + substr(head, RSTART, 1) : -1
    for (; at <= NR; at++) {
        row = line[at]
        if (row ~ /^ *$/) {
            blank++
            continue
        }
        if (indent_of(row) <= indent) break
        if (own < 0) own = indent_of(row)
        if (indent_of(row) < own) break
        if (started) text = text (folded ? (blank ? "" : " ") : "\n")
        for (; blank > 0; blank--) text = text "\n"
        text = text substr(row, own + 1)
        started = 1
    }
    if (head !~ /^[|>][1-9]?-/ && started) text = text "\n"
    if (head ~ /^[|>][1-9]?\+/) for (; blank > 0; blank--) text = text "\n"
    emit(path, text)
}

# flow: a [list] or {map}, over as many lines as its brackets need.
function flow(text, path) {
    while (!balanced(text) && at <= NR) text = text " " trim(line[at++])
    if (!balanced(text)) return fail("a bracket is not closed")
    flow_text = text
    flow_at = 1
    flow_node(path)
    if (uncommented(trim(substr(flow_text, flow_at))) != "") fail("text after a closing bracket")
}

function balanced(text,    i, char, depth, end) {
    for (i = 1; i <= length(text); i++) {
        char = substr(text, i, 1)
        if (char ~ /["']/ && (i == 1 || substr(text, i - 1, 1) ~ /[ \t,:[{]/)) {
            end = closing(substr(text, i))
            if (!end) return 0
            i += end - 1
        } else if (char ~ /[[{]/) depth++
        else if (char ~ /[]}]/ && --depth == 0) return 1
    }
    return 0
}

function flow_skip() {
    while (substr(flow_text, flow_at, 1) ~ /^[ \t]$/) flow_at++
    return substr(flow_text, flow_at, 1)
}

# flow_scalar: the scalar at flow_at; a plain one ends at a comma, a bracket or `: `.
function flow_scalar(    rest, end) {
    rest = substr(flow_text, flow_at)
    if (rest ~ /^["']/) {
        end = closing(rest)
        flow_at += end
        return unquoted(substr(rest, 1, end))
    }
    end = match(rest, /,|[][{}]|:([ \t]|$)|:[],}]/) ? RSTART - 1 : length(rest)
    flow_at += end
    return trim(substr(rest, 1, end))
}

function flow_node(path,    char, number, key) {
    char = flow_skip()
    if (char == "[") {
        flow_at++
        while ((char = flow_skip()) != "]" && char != "" && !failed) {
            flow_node(below(path, number + 0))
            number++
            if (flow_skip() == ",") flow_at++
            else if (flow_skip() != "]") fail("a comma is missing in a list")
        }
        flow_at++
    } else if (char == "{") {
        flow_at++
        while ((char = flow_skip()) != "}" && char != "" && !failed) {
            key = flow_scalar()
            if (flow_skip() == ":") {
                flow_at++
                if (flow_skip() ~ /[,}]/) emit(below(path, key), "")
                else flow_node(below(path, key))
            } else emit(below(path, key), "")
            if (flow_skip() == ",") flow_at++
            else if (flow_skip() != "}") fail("a comma is missing in a map")
        }
        flow_at++
    } else {
        key = flow_scalar()
        emit(path, char !~ /["']/ && key ~ /^(~|null|Null|NULL)$/ ? "" : key)
    }
}

END {
    at = 1
    skip()
    while (at <= NR && line[at] ~ /^(%|---[ \t]*(#.*)?$)/) {
        at++
        skip()
    }
    if (at <= NR && line[at] !~ /^\.\.\.$/) node(indent_of(line[at]), "")
    skip()
    if (at <= NR && line[at] !~ /^(---|\.\.\.)/) fail("not understood")
    exit failed
}
