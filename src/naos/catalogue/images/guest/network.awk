# Turns a flattened network-config, version 1 or 2, into a plan: selector <tab> verb <tab> arguments.
# Selectors: mac=52:54:..., name=eth0, or - for what belongs to no card. Verbs: mtu, address, gateway, route, dhcp, dns, search.
BEGIN { FS = OFS = "\t" }
$1 == "!" { next }
{
    sub(/^network\//, "", $1)
    value[$1] = $2
    paths[++count] = $1
}

function plan(selector, verb, arguments) { print selector, verb, arguments }

# prefix: of a netmask such as 255.255.255.0.
function prefix(mask,    octet, number, bits, i) {
    if (mask ~ /^[0-9]+$/) return mask
    split(mask, octet, ".")
    for (i = 1; i <= 4; i++) for (number = octet[i] + 0; number > 0; number = int(number / 2)) bits += number % 2
    return bits + 0
}

function with_prefix(address, mask) {
    if (address ~ /\//) return address
    if (mask != "") return address "/" prefix(mask)
    return address (address ~ /:/ ? "/64" : "/24")
}

function route(selector, to, mask, via) {
    if (to == "default" || to == "0.0.0.0/0" || to == "::/0" || to == "0.0.0.0") plan(selector, "gateway", via)
    else plan(selector, "route", with_prefix(to, mask) OFS via)
}

# list: verb for every item of a list, or for a single value.
function list(selector, verb, path,    i) {
    if (value[path] != "") plan(selector, verb, value[path])
    for (i = 0; (path "/" i) in value; i++) plan(selector, verb, value[path "/" i])
}

function routes(selector, path, to_key, via_key,    i, base) {
    for (i = 0; (path "/routes/" i "/" via_key) in value; i++) {
        base = path "/routes/" i
        route(selector, value[base "/" to_key], value[base "/netmask"], value[base "/" via_key])
    }
}

function truth(text) { return tolower(text) ~ /^(true|yes|on|1)$/ }

function version_2(    i, part, id, seen, base, selector) {
    for (i = 1; i <= count; i++) {
        split(paths[i], part, "/")
        if (part[1] ~ /^(bonds|bridges|vlans|wifis|tunnels)$/ && !seen[part[1]]++) plan("-", "unsupported", part[1])
        if (part[1] != "ethernets") continue
        id = part[2]
        if (seen["id " id]++) continue
        base = "ethernets/" id
        selector = "name=" id
        if (value[base "/match/name"] != "" && value[base "/match/name"] !~ /[*?[]/) selector = "name=" value[base "/match/name"]
        if (value[base "/match/macaddress"] != "") selector = "mac=" tolower(value[base "/match/macaddress"])
        if (value[base "/mtu"] != "") plan(selector, "mtu", value[base "/mtu"])
        addresses_2(selector, base)
        if (value[base "/gateway4"] != "") plan(selector, "gateway", value[base "/gateway4"])
        if (value[base "/gateway6"] != "") plan(selector, "gateway", value[base "/gateway6"])
        routes(selector, base, "to", "via")
        list("-", "dns", base "/nameservers/addresses")
        list("-", "search", base "/nameservers/search")
        if (truth(value[base "/dhcp4"])) plan(selector, "dhcp", "")
    }
}

function addresses_2(selector, base,    i) {
    for (i = 0; (base "/addresses/" i) in value; i++) {
        plan(selector, "address", with_prefix(value[base "/addresses/" i], ""))
    }
}

function version_1(    i, j, base, kind, selector) {
    for (i = 0; ("config/" i "/type") in value; i++) {
        base = "config/" i
        kind = value[base "/type"]
        if (kind == "nameserver") {
            list("-", "dns", base "/address")
            list("-", "search", base "/search")
            continue
        }
        if (kind != "physical") {
            plan("-", "unsupported", kind)
            continue
        }
        selector = value[base "/mac_address"] != "" ? "mac=" tolower(value[base "/mac_address"]) : "name=" value[base "/name"]
        if (value[base "/mtu"] != "") plan(selector, "mtu", value[base "/mtu"])
        for (j = 0; (base "/subnets/" j "/type") in value; j++) subnet_1(selector, base "/subnets/" j)
    }
}

function subnet_1(selector, base,    kind) {
    kind = value[base "/type"]
    if (kind ~ /^static6?$/ && value[base "/address"] != "") {
        plan(selector, "address", with_prefix(value[base "/address"], value[base "/netmask"]))
        if (value[base "/gateway"] != "") plan(selector, "gateway", value[base "/gateway"])
    }
    routes(selector, base, "network", "gateway")
    list("-", "dns", base "/dns_nameservers")
    list("-", "search", base "/dns_search")
    if (kind == "dhcp" || kind == "dhcp4") plan(selector, "dhcp", "")
}

END {
    if (value["version"] == 1) version_1()
    else if (value["version"] == 2) version_2()
    else plan("-", "unsupported", "version '" value["version"] "'")
}
