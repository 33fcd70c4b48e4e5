#!/bin/bash
# Every path in backticks in README.md and docs/ exists, every `make x` is a target, every link leads somewhere, and every frame is described.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0

complain() {
    echo "$1: $2"
    bad=1
}

while read -r doc; do
    here=$(dirname "$doc")
    # A path: it has a slash, begins with one of our folders (or a dot file), and has no blank, placeholder or variable.
    while read -r path; do
        case $path in
        build/*) continue ;;
        esac
        # shellcheck disable=SC2086 # globs are welcome
        ls -d $path >/dev/null 2>&1 || complain "$doc" "there is no $path"
    done < <(grep -oE '`[^` ]+`' "$doc" | tr -d '\140' |
        grep -E '^(store|replication|repository|client|tools|bench|tests|docs|\.ci)/' | grep -vE '[<>$…]' | sort -u)
    while read -r target; do
        grep -qE "^$target( [a-z -]+)?:" Makefile || complain "$doc" "make $target is no target"
    done < <(grep -oE '(^|`|    )make [a-z0-9-]+' "$doc" | sed 's/.*make //' | sort -u)
    while read -r link; do
        [ -e "$here/${link%%#*}" ] || complain "$doc" "the link to $link leads nowhere"
    done < <(grep -oE '\]\([^)#]+' "$doc" | sed 's/^](//' | grep -vE '^https?:' | sort -u)
done < <(find . -path ./build -prune -o -name '*.md' -print | sed 's|^\./||' | sort)

# Every frame that crosses a connection is in the table of formats, under its number and name.
while read -r name number; do
    grep -q "^| $number $name |" docs/FORMATS.md || complain docs/FORMATS.md "frame $number $name is not described"
done < <(sed -n 's/^ *FRAME_\([A-Z_]*\) = \([0-9]*\),.*/\1 \2/p' replication/core/frame.h |
    grep -vE '^(REPLY|HEADER_BYTES|VERSION|HELLO_MAX_BYTES) ')

exit $bad
