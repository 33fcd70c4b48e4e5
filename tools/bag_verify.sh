#!/bin/sh
# Checks the bag that this file lies in, with nothing but a POSIX shell, the usual small programs (sha256sum, base64, od,
# ...), awk and openssl:
#
#   1. that every file is there, is listed, and has the SHA-256 and SHA-512 of the manifests (BagIt, RFC 8493);
#   2. that data/checkpoint is signed by the key of the log, and by each cosigner whose key lies in data/keys;
#   3. for each record: that the log entry in its proof is in the tree of that checkpoint (RFC 6962), that the entry's body has
#      the hash that the entry's header names, and that the line of data/records.jsonl, byte for byte, is what the last operation
#      in that body on that record says.
#
# Usage: sh verify.sh [VKEY]
# VKEY is the verifier key of the log, as you got it by another way than this bag: who makes a bag can sign it with a key of
# his own. One line for each record; exit 0 when all holds, else 1, and each "FAILED" line names a file.
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")" || exit 1
T=$(mktemp -d) || exit 1
export T
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM

failed=0
bad() {
    printf 'FAILED %s\n' "$1"
    failed=$((failed + 1))
}
hex() { od -An -v -tx1 | tr -d ' \n'; }
bytes() { wc -c <"$1" | tr -d ' '; }
# piece FILE OFFSET BYTES
piece() { tail -c "+$(($2 + 1))" "$1" | head -c "$3"; }

# ---- 1. the files ----

# manifest FILE PROGRAM DIGITS: what it lists has those hashes. Names go to T/listed.
manifest() {
    if ! awk -v digits="$3" '{
            name = substr($0, digits + 3)
            if (length($1) != digits || $1 ~ /[^0-9a-f]/ || substr($0, digits + 1, 2) != "  " ||
                name !~ /^[A-Za-z0-9][A-Za-z0-9._\/-]*$/ || name ~ /\.\./) { wrong = 1; exit }
            print name
        } END { exit wrong }' "$1" >"$T/names"; then
        bad "$1: it is missing, or has a line that is none of a manifest"
        return
    fi
    sort "$T/names" >"$T/listed"
    "$2" -c "$1" >"$T/sums" 2>/dev/null
    awk '!/: OK$/ { sub(/: FAILED.*$/, ""); print }' "$T/sums" >"$T/wrong"
    while IFS= read -r name; do bad "$name: it has not the hash that $1 says"; done <"$T/wrong"
}
# nothing_else FILE: what is there (T/there) and what was listed are the same.
nothing_else() {
    comm -3 "$T/there" "$T/listed" | tr -d '\t' >"$T/wrong"
    while IFS= read -r name; do bad "$name: $1 lists it and it is not there, or the other way round"; done <"$T/wrong"
}

for folder in data data/keys data/proofs; do
    ls -A "$folder" 2>/dev/null | awk -v folder="$folder" '{ print folder "/" $0 }'
done | awk '$0 != "data/keys" && $0 != "data/proofs"' | sort >"$T/there"
manifest manifest-sha256.txt sha256sum 64
nothing_else manifest-sha256.txt
manifest manifest-sha512.txt sha512sum 128
nothing_else manifest-sha512.txt
ls -A | awk '$0 != "data" && $0 !~ /^tagmanifest-/' | sort >"$T/there"
manifest tagmanifest-sha256.txt sha256sum 64
nothing_else tagmanifest-sha256.txt
manifest tagmanifest-sha512.txt sha512sum 128
nothing_else tagmanifest-sha512.txt

# ---- 2. the checkpoint ----

# key VKEY: sets name, id and type, and writes T/key.der.
key() {
    name=${1%%+*}
    id=${1#*+}
    printf '%s' "${id#*+}" | base64 -d >"$T/typed" 2>/dev/null
    id=${id%%+*}
    [ "$(bytes "$T/typed")" = 33 ] || return 1
    [ "$({ printf '%s\n' "$name"; cat "$T/typed"; } | sha256sum | cut -c 1-8)" = "$id" ] || return 1
    type=$(head -c 1 "$T/typed" | hex)
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'; tail -c 32 "$T/typed"; } >"$T/key.der"
}
# signed: the key signed the checkpoint, and each signature under its name and id holds. Sets seconds, of a cosigner.
signed() {
    found=1
    seconds=
    name=$name awk 'behind && $1 == "\342\200\224" && $2 == ENVIRON["name"] { print $3 } $0 == "" { behind = 1 }' \
        data/checkpoint >"$T/lines"
    while read -r line; do
        printf '%s' "$line" | base64 -d >"$T/raw" 2>/dev/null || return 1
        [ "$(head -c 4 "$T/raw" | hex)" = "$id" ] || continue
        case $type.$(bytes "$T/raw") in
        01.68) cp "$T/text" "$T/message" ;;
        04.76)
            seconds=$(piece "$T/raw" 4 8 | od -An -v -tu1 | awk '{ for (i = 1; i <= NF; i++) n = n * 256 + $i } END { printf "%.0f", n }')
            { printf 'cosignature/v1\ntime %s\n' "$seconds"; cat "$T/text"; } >"$T/message"
            ;;
        *) return 1 ;;
        esac
        tail -c 64 "$T/raw" >"$T/signature"
        openssl pkeyutl -verify -pubin -keyform DER -inkey "$T/key.der" -rawin -in "$T/message" -sigfile "$T/signature" \
            >/dev/null 2>&1 || return 1
        found=0
    done <"$T/lines"
    return $found
}

awk '$0 == "" { exit } { print }' data/checkpoint >"$T/text" 2>/dev/null
origin=$(awk 'NR == 1' "$T/text")
size=$(awk 'NR == 2' "$T/text")
root=$(awk 'NR == 3' "$T/text" | base64 -d 2>/dev/null | hex)
case $size in
'' | *[!0-9]* | ????????????????*)
    bad "data/checkpoint: it names no size"
    size=0
    ;;
esac
log=$(cat data/keys/log 2>/dev/null)
if [ $# -gt 0 ] && [ "$1" != "$log" ]; then
    bad "data/keys/log: it is not the verifier key that was given"
fi
if ! key "$log" || [ "$type" != 01 ] || [ "$name" != "$origin" ]; then
    bad "data/keys/log: it is no verifier key of $origin"
elif signed; then
    echo "signed    $size entries, by $log"
else
    bad "data/checkpoint: it is not signed by data/keys/log"
fi
for file in data/keys/cosigner-*; do
    [ -e "$file" ] || continue
    if ! key "$(cat "$file")" || [ "$type" != 04 ]; then
        bad "$file: it is no verifier key of a cosigner"
    elif signed; then
        echo "cosigned  $seconds s after 1970, by $(cat "$file")"
    else
        bad "data/checkpoint: it is not cosigned by $file"
    fi
done

# ---- 3. the records ----

# Splits a proof into T/extra64, T/note, and T/path, whose first line is the index; the others are hashes, as octal escapes.
split_proof() {
    rm -f "$T/extra64" "$T/path" "$T/note"
    awk 'BEGIN {
            T = ENVIRON["T"]
            digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        }
        function octal(text,   i, n, d, v, out) {
            if (length(text) != 44 || substr(text, 44) != "=") exit 1
            for (i = 1; i < 44; i++) {
                if (!(d = index(digits, substr(text, i, 1)))) exit 1
                v = v * 64 + d - 1
                if (i % 4 == 0) { out = out byte(int(v / 65536)) byte(int(v / 256) % 256) byte(v % 256); v = 0 }
            }
            return out byte(int(v / 1024)) byte(int(v / 4) % 256)
        }
        function byte(v) { return sprintf("\\%03o", v) }
        NR == 1 { if ($0 != "c2sp.org/tlog-proof@v1") exit 1; next }
        NR == 2 { if (substr($0, 1, 6) != "extra ") exit 1; print substr($0, 7) >(T "/extra64"); next }
        NR == 3 { if ($0 !~ /^index (0|[1-9][0-9]*)$/) exit 1; print $2 >(T "/path"); next }
        !note && $0 == "" { note = 1; next }
        !note { print octal($0) >(T "/path"); next }
        { print >(T "/note") }' "$1"
}

# octal HEX: sets node to the same bytes as octal escapes.
octal() {
    node=
    rest=$1
    while [ -n "$rest" ]; do
        byte=$((0x${rest%"${rest#??}"}))
        node="$node\\$((byte / 64))$((byte / 8 % 8))$((byte % 8))"
        rest=${rest#??}
    done
}
# sha256 ESCAPES: sets sum, in hex. The format is made of escapes alone.
sha256() {
    # shellcheck disable=SC2059
    sum=$(printf "$1" | sha256sum)
    sum=${sum%% *}
}
# included INDEX HEADER: the header (as octal escapes) is that leaf of the tree of the checkpoint. RFC 9162, 2.1.3.2
included() {
    fn=$1
    sn=$((size - 1))
    [ "$fn" -le "$sn" ] || return 1
    sha256 "\\000$2"
    while IFS= read -r other; do
        [ "$sn" -gt 0 ] || return 1
        octal "$sum"
        if [ $((fn % 2)) = 1 ] || [ "$fn" = "$sn" ]; then
            sha256 "\\001$other$node"
            while [ $((fn % 2)) = 0 ] && [ "$fn" != 0 ]; do
                fn=$((fn / 2))
                sn=$((sn / 2))
            done
        else
            sha256 "\\001$node$other"
        fi
        fn=$((fn / 2))
        sn=$((sn / 2))
    done
    [ "$sn" = 0 ] && [ "$sum" = "$root" ]
}

# What T/extra says, in one line: collection and key in hex, offset of the entry, its header as octal escapes, the hash in it, lsn,
# time, act (1 put, 2 delete), offset and size of the value. Numbers are little-endian; a field is read when `left` bytes of it have
# come.
read_entry() {
    od -An -v -tu1 "$T/extra" | awk '
        function field(name, n) { what = name; left = n; number = 0; unit = 1; text = "" }
        function ended() {
            if (what == "magic") { if (text != "54564e500100") wrong = 1; field("c#", 2) }
            else if (what == "c#") field("c", number)
            else if (what == "c") { c = text; field("k#", 2) }
            else if (what == "k#") field("k", number)
            else if (what == "k") { k = text; entry = at; field("head", 6) }
            else if (what == "head") { if (text != "54564e450100") wrong = 1; field("kind", 2) }
            else if (what == "kind") { if (number != 1) wrong = 1; field("size", 4) }
            else if (what == "size") { end = entry + 128 + number; field("more", 36) }
            else if (what == "more") field("lsn", 8)
            else if (what == "lsn") { lsn = number; field("time", 8) }
            else if (what == "time") { time = number; field("previous", 32) }
            else if (what == "previous") field("hash", 32)
            else if (what == "hash") { hash = text; field("salt", 41) }
            else if (what == "salt") field("client#", 2)
            else if (what == "client#") field("client", number)
            else if (what == "client") field("ops", 4)
            else if (what == "ops") { ops = number; next_op() }
            else if (what == "op") { op = number; if (op != 1 && op != 2) wrong = 1; field("oc#", 2) }
            else if (what == "oc#") field("oc", number)
            else if (what == "oc") { oc = text; field("ok#", 2) }
            else if (what == "ok#") field("ok", number)
            else if (what == "ok") {
                mine = oc == c "" && text == k ""
                if (mine) act = op
                if (op == 1) field("v#", 4)
                else { ops--; next_op() }
            }
            else if (what == "v#") { if (mine) { v_at = at; vn = number }; field("v", number) }
            else if (what == "v") { ops--; next_op() }
        }
        function next_op() { if (ops > 0) field("op", 1); else { field("end", -1); if (at != end) wrong = 1 } }
        function date(us,   s, z, era, doe, yoe, doy, mp, m) {
            s = int(us / 1000000); z = int(s / 86400) + 719468; era = int(z / 146097); doe = z - era * 146097
            yoe = int((doe - int(doe / 1460) + int(doe / 36524) - int(doe / 146096)) / 365)
            doy = doe - (365 * yoe + int(yoe / 4) - int(yoe / 100)); mp = int((5 * doy + 2) / 153)
            m = mp < 10 ? mp + 3 : mp - 9
            return sprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", yoe + era * 400 + (m <= 2), m,
                           doy - int((153 * mp + 2) / 5) + 1, int(s / 3600) % 24, int(s / 60) % 60, s % 60, us - s * 1000000)
        }
        BEGIN {
            field("magic", 6); at = 0
            n = split("c k oc ok magic head hash", names, " ")
            for (i = 1; i <= n; i++) kept[names[i]] = 1
        }
        { for (i = 1; i <= NF && !wrong; i++) {
            if (what == "end") { wrong = 1; break }
            if (left > NF - i && what == "v") { left -= NF - i + 1; at += NF - i + 1; i = NF }
            else {
                if (what in kept) text = text sprintf("%02x", $i)
                else if (left <= 8 && unit < 18446744073709551616) { number += $i * unit; unit *= 256 }
                if (entry && at < entry + 128) header = header sprintf("\\%03o", $i)
                left--; at++
            }
            while (left == 0 && !wrong) ended()
        } }
        END {
            if (wrong || what != "end" || !act) exit 1
            printf "%s %s %.0f %s %s %.0f %s %d %.0f %.0f\n", c, k, entry, header, hash, lsn, date(time), act, v_at, vn
        }'
}

# compare FORM COLLECTION KEY LSN TIME ACT: is T/line what records.jsonl must have for this version, whose value is T/value? Bytes are
# looked at as two hex digits. FORM is how the value stands there if it is no string: "json", as it is, without line ends and the
# space around it; or "base64". Prints the bytes before the value.
#
# As it is: one value that is no string, and no object that would be read as bytes in base64. That it is JSON inside is not looked at.
compare() {
    od -An -v -tx1 "$T/line" >"$T/line.hex"
    od -An -v -tx1 "$T/value" >"$T/value.hex"
    form=$1 c=$2 k=$3 lsn=$4 time=$5 act=$6 awk '
        # The next byte of the line and of the value; "" at the end.
        function peek() {
            if (l_at == l_n) { if ((getline row <(T "/line.hex")) <= 0) return ""; l_n = split(row, l, " "); l_at = 0 }
            return l[l_at + 1]
        }
        function value() {
            if (v_at == v_n) { if ((getline row <(T "/value.hex")) <= 0) return ""; v_n = split(row, v, " "); v_at = 0 }
            return v[++v_at]
        }
        function want(b) { if (peek() "" != b "") exit 1; l_at++; bytes++ }
        function want_hex(text,   i) { for (i = 1; i < length(text); i += 2) want(substr(text, i, 2)) }
        function want_text(text,   i) { for (i = 1; i <= length(text); i++) want(code[substr(text, i, 1)]) }
        # A name, in hex.
        function want_name(name,   i) {
            if (peek() == "22") {
                want("22")
                for (i = 1; i < length(name); i += 2) want_in_string(substr(name, i, 2))
                want("22")
            } else {
                want_text("{\"base64\":\"")
                group = ""
                for (i = 1; i < length(name); i += 2) want_in_base64(substr(name, i, 2))
                end_base64()
                want_text("\"}")
            }
        }
        function want_in_string(b) {
            if (b in escape) want_hex(escape[b])
            else if (b "" < "20" || b == "7f") want_text("\\u00" b)
            else want(b)
        }
        function want_in_base64(b) {
            group = group b
            if (length(group) == 6) end_base64()
        }
        function end_base64(   n, v, i) {
            if (group == "") return
            n = length(group) / 2
            for (i = 1; i <= 3; i++) v = v * 256 + (i <= n ? number(substr(group, 2 * i - 1, 2)) : 0)
            for (i = 1; i <= 4; i++) {
                want(i <= n + 1 ? code[substr(digits, int(v / 262144) + 1, 1)] : "3d")
                v = (v % 262144) * 64
            }
            group = ""
        }
        function number(b) { return 16 * (index(hex, substr(b, 1, 1)) - 1) + index(hex, substr(b, 2, 1)) - 1 }
        function want_json(   b, space, string, escaped, named, name, open, depth, ended, comma, scalar, begun) {
            while ((b = value()) != "") {
                if (b == "0a" || b == "0d") continue
                if (!string && (b == "20" || b == "09")) { if (begun) space = space b; continue }
                if (ended || (scalar != "" && space != "")) exit 1
                want_hex(space)
                want(b)
                space = ""; begun = 1
                if (string) {
                    if (escaped) escaped = 0
                    else if (b == "5c") escaped = 1
                    else if (b == "22") { string = 0; named = 1 }
                    if (!named) name = name b
                }
                else if (b == "22") { if (depth == 0) exit 1; string = 1 }
                else if (b == "7b" || b == "5b") { if (depth++ == 0) open = b }
                else if (b == "7d" || b == "5d") { if (--depth == 0) ended = 1 }
                else if (depth == 0) scalar = scalar b
                else if (depth == 1 && b == "2c") comma = 1
            }
            while (match(name, /5c7530303[0-9]3[0-9]/))
                name = substr(name, 1, RSTART - 1) substr(name, RSTART + 9, 1) substr(name, RSTART + 11, 1) substr(name, RSTART + 12)
            if (open == "7b" && name == "626173653634" && !comma) exit 1
            if (open == "" && scalar !~ /^(74727565|66616c7365|6e756c6c|(2d)?3[0-9](2e|65|45|2b|2d|3[0-9])*)$/) exit 1
            if (string || depth != 0) exit 1
        }
        BEGIN {
            T = ENVIRON["T"]; hex = "0123456789abcdef"
            digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            for (i = 32; i < 127; i++) code[sprintf("%c", i)] = sprintf("%02x", i)
            escape["0a"] = "5c6e"; escape["09"] = "5c74"; escape["0d"] = "5c72"; escape["22"] = "5c22"; escape["5c"] = "5c5c"
            want_text("{\"collection\":"); want_name(ENVIRON["c"])
            want_text(",\"key\":"); want_name(ENVIRON["k"])
            want_text(",\"lsn\":" ENVIRON["lsn"] ",\"time\":\"" ENVIRON["time"] "\"")
            shown = bytes
            if (ENVIRON["act"] == 2) want_text(",\"deleted\":true")
            else {
                want_text(",\"value\":")
                if (peek() == "22") {
                    want("22")
                    while ((b = value()) != "") want_in_string(b)
                    want("22")
                } else if (ENVIRON["form"] == "json") want_json()
                else {
                    want_text("{\"base64\":\"")
                    while ((b = value()) != "") want_in_base64(b)
                    end_base64()
                    want_text("\"}")
                }
            }
            want_text("}")
            want("0a")
            if (peek() != "") exit 1
            print shown
        }'
}

# check FILE: says in `why` what is wrong with it, and in `shown` how many bytes of T/line name the record.
check() {
    why='it is no proof of a record'
    split_proof "$1" && [ -s "$T/extra64" ] && [ -s "$T/path" ] && [ -s "$T/note" ] || return 1
    base64 -d "$T/extra64" >"$T/extra" 2>/dev/null || return 1
    why='its checkpoint is not data/checkpoint'
    [ "$(sha256sum <"$T/note")" = "$checkpoint" ] || return 1
    why='its entry cannot be read, or does not write the record that it is said to prove'
    # shellcheck disable=SC2046 # ten words
    set -- $(read_entry)
    [ $# = 10 ] || return 1
    why='its place in the tree is not the one of its entry'
    {
        read -r index
        [ $((index + 1)) = "$6" ] || return 1
        why='its entry is not in the tree of the checkpoint'
        included "$index" "$4" || return 1
    } <"$T/path"
    why='the body of its entry has not the hash that the header names'
    sum=$(tail -c "+$(($3 + 129))" "$T/extra" | sha256sum)
    [ "${sum%% *}" = "$5" ] || return 1
    why="it does not prove line $number of data/records.jsonl: one of the two is another record"
    piece "$T/extra" "$9" "${10}" >"$T/value"
    shown=$(compare json "$1" "$2" "$6" "$7" "$8") || shown=$(compare base64 "$1" "$2" "$6" "$7" "$8")
}

checkpoint=$(sha256sum <data/checkpoint)
number=0
proven=0
at=0
for file in data/proofs/*; do
    [ -e "$file" ] || continue
    number=$((number + 1))
    tail -c "+$((at + 1))" data/records.jsonl 2>/dev/null | head -n 1 >"$T/line"
    if check "$file"; then
        proven=$((proven + 1))
        printf 'proven    %s %s}\n' "${file#data/proofs/}" "$(head -c "$shown" "$T/line")"
    else
        bad "$file: $why"
    fi
    at=$((at + $(wc -c <"$T/line")))
done
[ "$number" != 0 ] || bad "data/proofs: there is none"
[ "$at" = "$(wc -c <data/records.jsonl)" ] || bad "data/records.jsonl: not all of it is proven, from byte $at on"

if [ "$failed" != 0 ]; then
    echo "NOT whole: $failed failures; $proven of $number records are proven"
    exit 1
fi
echo "whole: $proven records are proven, in a history of $size entries"
[ $# -gt 0 ] || echo "compare the key of the log, which is in the line 'signed', with the one that was published"
