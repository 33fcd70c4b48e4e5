#!/bin/bash
# Every program that the tests, the demo and the scripts call comes with PACKAGES of the Makefile, with what those packages depend
# on, or with any Debian: otherwise `make check` fails on a machine that has only what `make deps` installs.
#
# Told by words that stand where a command may stand. A word that is no program of this machine is not looked at: where it
# is missing its script fails by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v dpkg-query >/dev/null || { echo "NOT RUN: only a Debian system knows its packages"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Packages that are there: those of every Debian, those of PACKAGES, and what they depend on.
wanted=$(awk '/^PACKAGES +=/ { on = 1; sub(/.*= */, "") } on { more = sub(/\\$/, ""); printf "%s ", $0; if (!more) exit }' Makefile)
# A suite that installs more by itself names it: "# installs: PACKAGE...".
wanted+=" $(sed -n 's/^# installs: //p' $(find tests -name '*.sh') | tr '\n' ' ')"
dpkg-query -W -f '${Package}|${Essential}|${Priority}|${Pre-Depends}, ${Depends}\n' >"$work/installed"
awk -F'|' -v wanted="$wanted" '
    function add(name) { if (name != "" && !(name in have)) { have[name] = 1; queue[++last] = name } }
    { essential = $2 == "yes" || $3 == "required"; if (essential) add($1)
      depends[$1] = $4; for (i = 5; i <= NF; i++) depends[$1] = depends[$1] "," $i } # alternatives are separated by | too
    END {
        n = split(wanted, w, " "); for (i = 1; i <= n; i++) add(w[i])
        for (at = 1; at <= last; at++) {
            n = split(depends[queue[at]], d, ",")
            for (i = 1; i <= n; i++) { sub(/^ */, "", d[i]); sub(/[ (:].*/, "", d[i]); add(d[i]) }
        }
        for (name in have) print name
    }' "$work/installed" | sort >"$work/there"

# Words in a command's place, as "FILE WORD". Bodies of here-documents and comments are left out.
scripts=$(find tests .ci -name '*.sh' -o -name run | sort)
# shellcheck disable=SC2086 # names of ours, without blanks
awk '
    FNR == 1 { inside = "" }
    inside != "" { line = $0; sub(/^\t*/, "", line); if (line == inside) inside = ""; next }
    /<<-?.?[A-Z]+/ && !/<<</ { inside = $0; sub(/.*<<-?[^A-Z]?/, "", inside); sub(/[^A-Z].*/, "", inside) }
    { sub(/(^|[ \t])#.*/, "")
      gsub(/\$\(|[|;&(`]|(^|[ \t])(then|do|else|if|while|until|!|exec|env|sudo|xargs( -[^ ]+)*|timeout( -k [0-9]+)? [^ ]+)[ \t]/, "\n")
      n = split($0, part, "\n")
      for (i = 1; i <= n; i++) {
          sub(/^[ \t]+/, "", part[i])
          while (sub(/^[A-Za-z_]+=("[^"]*"|[^ "]*)[ \t]+/, "", part[i])) { }
          if (match(part[i], /^[a-z][a-z0-9_.+-]*([ \t]|$)/)) { word = part[i]; sub(/[ \t].*/, "", word); print FILENAME, word }
      } }' $scripts >"$work/words"
# Programs that other programs of the tests call.
grep -oE '(\[|system\(|reader\[\] = |execlp\()"[a-z0-9]+[" ]' -r tests --include='*.py' --include='*.c' |
    sed -E 's/^([^:]*):.*"([a-z0-9]+)[" ]$/\1 \2/' >>"$work/words"
grep -q ' openssl$' "$work/words" || { echo "the words of the scripts were not found"; exit 1; }

# The places of each word's program, and whose they are: asked for once. Debian keeps the same file under /usr/bin and /bin, and a
# program may be an alternative.
while read -r word; do
    [ "$word" = awk ] && word=mawk # every machine has one, and only what any of them can is used
    path=$(type -P "$word") || continue
    printf "$word %s\n" "$path" "${path#/usr}" "/usr$path" "$(readlink -f "$path")"
done < <(cut -d' ' -f2 "$work/words" | sort -u | grep -vxF -f <(compgen -b; compgen -k; echo sudo)) >"$work/places"
cut -d' ' -f2 "$work/places" | sort -u | xargs dpkg-query -S 2>/dev/null | sed 's/^\([^:,]*\)[^ ]* /\1 /' >"$work/owners" || true
# Not a package's: of the checkout, or put there by hand.
awk 'FILENAME == ARGV[1] { there[$1] = 1; next }
     FILENAME == ARGV[2] { owner[$2] = $1; next }
     FILENAME == ARGV[3] { if (($2 in owner) && !($1 in told)) told[$1] = owner[$2]; next }
     ($2 in told) && !(told[$2] in there) {
         print $1 ": calls " $2 ", which is of the package " told[$2] ": add it to PACKAGES in the Makefile"; bad = 1
     }
     END { exit bad }' "$work/there" "$work/owners" "$work/places" <(sort -u "$work/words")
