#!/usr/bin/env bash
# Lists every image of a datalake, one path a line: the catalogue that indexer/main.py reads.
# Keeps to what GNU, BSD (macOS) and busybox tools share, and to bash 3.2.
set -u
export LC_ALL=C # sort by bytes, match names that are not UTF-8, and get find's messages in English

readonly PROGRAM=extract_datalake.sh
readonly NEWLINE=$'\n' RETURN=$'\r'

dir=''
output=database_info.txt
work=''

show_help() {
    cat <<HELP
Usage: $PROGRAM [-o FILE] [--] DIR

Writes the path of every image under DIR to database_info.txt in the current folder:
one path a line, sorted by bytes, each path once, spelled as DIR was given.

  $ bash indexer/$PROGRAM data
  database_info.txt: 600 images in 4 shops (3 other files left out)
  $ head -n 1 database_info.txt
  data/abc.com/42_abc_com.jpg

DIR          folder of shops, at any depth; a shop is a folder that directly holds images
-o FILE      write to FILE instead of database_info.txt
-h, --help   show this help
--           end of options, for a DIR that begins with "-"

Images end in .jpg .jpeg .png .webp .gif .bmp .tif .tiff .avif .heic .heif or .jp2,
in any case. Symlinks are followed. Names that begin with a dot are passed over. FILE is replaced in one step once
the list is complete; until then, and after any error, an earlier FILE stays as it was.

Exit codes: 0 list written (warnings, if any, on stderr), 1 no list written, 2 wrong usage.
HELP
}

warn() { printf '%s: warning: %s\n' "$PROGRAM" "$1" >&2; }

die() {
    printf '%s: %s\n' "$PROGRAM" "$1" >&2
    exit 1
}

usage_error() {
    printf '%s: %s; see bash indexer/%s --help\n' "$PROGRAM" "$1" "$PROGRAM" >&2
    exit 2
}

# plural 1 image -> "1 image", plural 2 image -> "2 images"
plural() {
    if [ "$1" -eq 1 ]; then printf '%d %s' "$1" "$2"; else printf '%d %ss' "$1" "$2"; fi
}

set_dir() {
    [ -n "$1" ] || usage_error 'DIR is empty, give the folder that holds the shops'
    [ -z "$dir" ] || usage_error "one DIR is wanted, but both '$dir' and '$1' were given"
    dir=$1
}

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) show_help; exit 0 ;;
            -o)
                [ -n "${2-}" ] || usage_error '-o needs the name of a file'
                output=$2
                shift
                ;;
            --) shift; break ;;
            -*) usage_error "there is no option '$1' (a folder of that name goes after --)" ;;
            *) set_dir "$1" ;;
        esac
        shift
    done
    while [ $# -gt 0 ]; do
        set_dir "$1"
        shift
    done
    [ -n "$dir" ] || usage_error 'DIR is missing, give the folder that holds the shops'
}

check_dir() {
    [ -e "$1" ] || die "there is no folder '$1', check the spelling"
    [ -d "$1" ] || die "'$1' is not a folder, give the folder that holds the shops"
    if [ ! -r "$1" ] || [ ! -x "$1" ]; then die "'$1' cannot be read, get read access to it"; fi
    case $1 in
        *"$NEWLINE"* | *"$RETURN"*) die "'$1' has a line break in its name, rename it first" ;;
    esac
}

# busybox's find follows a link that leads in a circle until memory runs out.
check_find() {
    local link
    find --help 2>&1 | grep -q BusyBox || return 0
    link=$(find -H "$1" -type l -exec test -d {} \; -print 2>/dev/null | head -n 1)
    [ -z "$link" ] || die "busybox cannot safely follow links to folders ($link), \
install GNU findutils or remove the links"
}

check_output() {
    [ ! -d "$1" ] || die "'$1' is a folder, give the name of a file after -o"
    # Moving a file over /dev/null, as root, would replace the device.
    [ ! -e "$1" ] || [ -f "$1" ] || die "'$1' is not a regular file, give another name after -o"
}

# Prints the image paths under $1, which starts with / or ./ so that find cannot take it for an
# option; a leading ./ is taken off again. What is left out is noted on descriptor 3, a line each,
# beside find's own messages; an "exit" line at the end tells that find was not cut short.
# shellcheck disable=SC2016 # the inner bash expands these, once for thousands of paths
find_images() {
    find -L "$1" -mindepth 1 \
        -name '.*' -prune -o \
        -type d -o \
        -type l -exec bash -c 'printf "%.0sbroken link\n" "$@" >&3' bash {} + -o \
        \( ! -type f -o ! \( -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' \
            -o -iname '*.webp' -o -iname '*.gif' -o -iname '*.bmp' \
            -o -iname '*.tif' -o -iname '*.tiff' -o -iname '*.avif' \
            -o -iname '*.heic' -o -iname '*.heif' -o -iname '*.jp2' \) \) \
        -exec bash -c 'printf "%.0sno image\n" "$@" >&3' bash {} + -o \
        \( -path "*$NEWLINE*" -o -path "*$RETURN*" \) \
        -exec bash -c 'printf "%.0sline break\n" "$@" >&3' bash {} + -o \
        -exec bash -c 'printf "%s\n" "${@#./}"' bash {} + \
        2>&3
    printf 'exit %d\n' "$?" >&3
}

count_notes() { grep -c -x -- "$1" "$work/notes"; }

messages() { grep -v -x -E 'broken link|no image|line break|exit [0-9]+' "$work/notes"; }

# A link to a folder above it, or to itself.
readonly LOOP='^find: File system loop detected|: Too many levels of symbolic links$'
loops() { messages | grep -E "$LOOP"; }
unread() { messages | grep -v -E "$LOOP"; }

# A message that names no path ("cannot fork") means that find gave up: no list is better than
# a short one. One that names a path costs only that path.
check_complete() {
    local fatal
    fatal=$(unread | grep -v -E "^find: .?\.?/" | head -n 1)
    [ -z "$fatal" ] || die "the search stopped early ($fatal), run it again"
    grep -q -x 'exit 0' "$work/notes" && return
    grep -q -x 'exit 1' "$work/notes" && [ -n "$(messages)" ] && return
    die "the search of '$dir' stopped early, run it again"
}

warn_left_out() {
    local count
    count=$(unread | grep -c '')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" 'unreadable path') \
($(unread | head -n 1)), get read access and run again"
    count=$(loops | grep -c '')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" 'circular link') \
($(loops | head -n 1)), remove to silence"
    count=$(count_notes 'broken link')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" 'broken link'), repair or remove"
    count=$(count_notes 'line break')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" image) with a line break in the path, \
which a list of one path a line cannot hold: rename and run again"
}

summary() {
    local images shops others left_out=''
    images=$(grep -c '' "$work/list")
    shops=$(sed 's|/[^/]*$||' "$work/list" | sort -u | grep -c '')
    others=$(count_notes 'no image')
    [ "$others" -eq 0 ] || left_out=" ($(plural "$others" 'other file') left out)"
    printf '%s: %s in %s%s\n' \
        "$output" "$(plural "$images" image)" "$(plural "$shops" shop)" "$left_out"
}

clean_up() { [ -z "$work" ] || rm -rf -- "$work"; }

main() {
    local start target reason report
    parse_arguments "$@"
    check_dir "$dir"
    while [ "$dir" != / ] && [ "${dir%/}" != "$dir" ]; do dir=${dir%/}; done
    case $dir in /*) start=$dir ;; *) start=./$dir ;; esac
    case $output in /*) target=$output ;; *) target=./$output ;; esac
    check_output "$output"
    check_find "$start"

    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Beside the target, for only within one file system does mv replace a file in one step.
    work=$(mktemp -d "${target%/*}/.extract_datalake.XXXXXX" 2>/dev/null) ||
        die "cannot write into '${target%/*}/', get write access or name another place with -o"

    reason=$(find_images "$start" 3>"$work/notes" |
        sort -u -T "$work" -o "$work/list" 2>&1) ||
        die "cannot write '$output' (${reason:-no reason given}), free disk space or use -o"
    check_complete
    warn_left_out
    [ -s "$work/list" ] || die "no image in '$dir', check that it is the folder of shops"
    report=$(summary)
    mv -f -- "$work/list" "$target" 2>/dev/null ||
        die "cannot replace '$output', get write access or name another file with -o"
    printf '%s\n' "$report"
}

main "$@"
