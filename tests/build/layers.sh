#!/bin/bash
# Usage: layers.sh BUILD [includes] [symbols] [headers]: proves what the folders promise (all three when none is named).
#
#   includes  each file includes only what the table below allows its folder
#   symbols   the objects of the pure folders call nothing but themselves and a short list of pure functions
#   headers   each header compiles alone, under CC and CPPFLAGS of the environment
#
# Every breach is one line "file: what", and all are shown. Exit 0 when there is none, else 1.
set -uo pipefail
build=$1
shift
[ $# -gt 0 ] || set -- includes symbols headers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# folder  what its files may include of the project, as a regular expression on the path in quotes
matrix='
store/core        store/core/
replication/core  (store|replication)/core/
repository/core   (store|repository)/core/
store/io          store/
store             store/
replication/io    (store|replication)/
replication       (store|replication)/|repository/[a-z_]+\.h
repository/io     (store|repository)/
repository        (store|repository)/
client            (client|store/core|replication/core|replication/io)/
client/examples   client/triveni\.h
'
pure_headers='<(stdint|stddef|stdbool|stdarg|stdio|string|limits|inttypes)\.h>'
hash_headers='<(isa-l/crc|openssl/sha|xxhash)\.h>' # of store/core/hash.c alone

sources_of() {
    find "$1" -maxdepth 1 -name '*.[ch]' 2>/dev/null | sort
}

check_includes() {
    local folder may file line what
    while read -r folder may; do
        [ -n "$folder" ] || continue
        for file in $(sources_of "$folder"); do
            while IFS=: read -r line what; do
                case $what in
                \"*)
                    [[ $what =~ ^\"($may) ]] || echo "$file:$line: $folder may not include $what"
                    ;;
                \<*)
                    [[ $folder != */core || $what =~ ^$pure_headers || $file == store/core/banned.h ]] ||
                        [[ $file == store/core/hash.c && $what =~ ^$hash_headers ]] ||
                        echo "$file:$line: a pure folder may not include $what"
                    ;;
                esac
            done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' "$file" | sed -E 's/:[^<"]*/:/')
        done
    done <<<"$matrix"
}

# Functions of libc that read and write nothing but their arguments, in plain and fortified form, our three hashes, and what the compiler
# itself calls or, of the processor, looks up.
pure_symbols='^(__)?(mem(cpy|move|set|cmp|chr)|bcmp|str(len|nlen|cmp|ncmp|chr|rchr|str|spn|cspn)|v?snprintf)(_chk)?$'
pure_symbols+='|^SHA256_(Init|Update|Final)$|^crc32_iscsi$|^__cpu_model$|^check_failed$|^__stack_chk_fail$|^_GLOBAL_OFFSET_TABLE_$'

check_symbols() {
    local folder objects object symbol
    for folder in store/core replication/core repository/core; do
        objects=$(find "$build/$folder" -name '*.o' 2>/dev/null | sort)
        [ -n "$objects" ] || continue
        # shellcheck disable=SC2086 # a list of files
        nm --defined-only --extern-only $objects "$build"/store/core/*.o | awk 'NF == 3 { print $3 }' | sort -u >"$work/own"
        for object in $objects; do
            nm --undefined-only "$object" | awk '{ print $2 }' | grep -vE "$pure_symbols" | grep -vxFf "$work/own" |
                while read -r symbol; do
                    echo "${object#"$build"/}: a pure object may not call $symbol"
                done
        done
    done
}

check_headers() {
    # shellcheck disable=SC2016,SC2086
    find store replication repository client tools -name '*.h' 2>/dev/null | sort |
        xargs -P "$(nproc)" -I{} sh -c \
            '$CC -std=c11 $CPPFLAGS -fsyntax-only -x c {} 2>&1 |
             head -n 1 | sed "s|^|{}: does not compile alone: |"'
}

for part in "$@"; do
    check_"$part"
done >"$work/breaches"
cat "$work/breaches" >&2
n=$(wc -l <"$work/breaches")
echo "layers: $n breaches ($*)"
[ "$n" = 0 ]
