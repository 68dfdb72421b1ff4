#!/usr/bin/env bash
# Lists every image of a datalake, one path a line: the catalogue that indexer/main.py reads.
# Keeps to what GNU, BSD (macOS) and busybox tools share, and to bash 3.2.
set -u
export LC_ALL=C # sort by bytes, match names that are not UTF-8, and get find's messages in English

readonly PROGRAM=extract_datalake.sh
readonly NEWLINE=$'\n' RETURN=$'\r' TAB=$'\t'
readonly SUFFIXES='.jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .avif .heic .heif .jp2'
# What systems and NAS devices leave among the pictures, in any case of letters.
readonly SYSTEM=('@eaDir' '@Recycle' '@Recently-Snapshot' '#recycle' '#snapshot' "\$RECYCLE.BIN"
    'RECYCLER' 'System Volume Information' '__MACOSX' 'lost+found' 'Thumbs.db' 'desktop.ini')

dir=''
excluded=()
output=database_info.txt
work=''

show_help() {
    cat <<HELP
Usage: $PROGRAM [-o FILE] [--exclude PATTERN]... [--] DIR

Writes the path of every image under DIR to database_info.txt in the current folder:
one path a line, sorted by bytes, each path once, spelled as DIR was given.

  $ bash indexer/$PROGRAM data
  database_info.txt: 600 images in 4 shops (3 other files left out, see database_info.txt.left_out)
  $ head -n 1 database_info.txt
  data/abc.com/42_abc_com.jpg

DIR                folder of shops; a shop is a folder in it, with the images at any depth below
-o FILE            write to FILE instead of database_info.txt
--exclude PATTERN  pass over files and folders of that name, or of that path below DIR where
                   PATTERN has a /; * and ? stand for any letters; may be given several times
-h, --help         show this help
--                 end of options, for a DIR that begins with "-"

Images end in ${SUFFIXES},
in any case of letters; files with another end or none are images if they begin like one (but TIFF, as which the raw
files of cameras begin). Symlinks are followed. Names that begin with a dot are passed over, and
so are the thumbnail and recycle folders of systems and NAS devices (@eaDir, #recycle, \$RECYCLE.BIN,
System Volume Information, __MACOSX, lost+found and their like).

FILE.datalake gets DIR, so that the index knows which folders are shops. FILE.left_out, where
anything is left out, names it and why, a line each. FILE is replaced in one step once the list
is complete; until then, and after any error, an earlier FILE stays as it was.

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

exclude() {
    local pattern=${1#/}
    pattern=${pattern%/}
    [ -n "$pattern" ] || usage_error '--exclude needs the name of a file or folder, or a pattern'
    excluded[${#excluded[@]}]=$pattern
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
            --exclude)
                exclude "${2-}"
                shift
                ;;
            --exclude=*) exclude "${1#--exclude=}" ;;
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

# note REASON PATH...: what is left out, on descriptor 3, a line each.
note() {
    local reason=$1
    shift
    set -- "${@#./}"
    printf "$reason\t%s\n" "${@//[$'\n\r']/?}" >&3
}

# A list of one path a line cannot hold a path with a line break.
list() {
    local path
    for path; do
        case $path in
            *[$'\n\r']*) note 'line break' "$path" ;;
            *) printf '%s\n' "${path#./}" ;;
        esac
    done
}

# Lists those of these files that begin like images; it starts no process for each.
list_images() {
    local path head byte
    for path; do
        if [ ! -r "$path" ]; then
            note unreadable "$path"
            continue
        fi
        head=''
        while [ ${#head} -lt 12 ] && IFS= read -r -d '' -n 1 byte; do
            head=$head${byte:-$'\2'} # in place of NUL, which no variable can hold
        done <"$path"
        case $head in
            $'\xff\xd8\xff'* | $'\x89PNG\r\n'* | GIF8[79]a* | RIFF????WEBP) list "$path" ;;
            BM????$'\2\2\2\2'* | ????ftypavi[fs] | ????ftyphei[cxms]) list "$path" ;;
            ????ftyphev[cxms] | ????ftypmif1 | $'\2\2\2\x0cjP  '* | $'\xffO\xffQ'*) list "$path" ;;
            *[$'\1'-$'\x08\x0e'-$'\x1f']*) note 'no image' "$path" ;;
            *) note text "$path" ;;
        esac
    done
}

# Prints the image paths under $1, which starts with / or ./ so that find cannot take it for an
# option; a leading ./ is taken off again. find's own messages go where the notes go; an "exit"
# line at the end tells that find was not cut short.
find_images() {
    local name suffix below with images=() passed_over=(-name '.*')
    for name in "${SYSTEM[@]}"; do passed_over+=(-o -iname "$name"); done
    below=$(printf '%s' "${1%/}" | sed 's/[][*?\\]/\\&/g')
    for name in ${excluded[@]+"${excluded[@]}"}; do
        case $name in
            */*) passed_over+=(-o -path "$below/$name") ;;
            *) passed_over+=(-o -name "$name") ;;
        esac
    done
    for suffix in $SUFFIXES; do images+=(-o -iname "*$suffix"); done
    with=$(declare -f note list list_images) # for the shells that find starts
    find -L "$1" -mindepth 1 \
        \( "${passed_over[@]}" \) -prune -o \
        -type d -o \
        -type l -exec bash -c "$with; note 'broken link' \"\$@\"" bash {} + -o \
        ! -type f -exec bash -c "$with; note 'no image' \"\$@\"" bash {} + -o \
        \( "${images[@]:1}" \) -exec bash -c "$with; list \"\$@\"" bash {} + -o \
        -exec bash -c "$with; list_images \"\$@\"" bash {} + \
        2>&3
    printf 'exit %d\n' "$?" >&3
}

readonly REASONS='broken link|no image|text|line break|unreadable'
notes() { grep -E "^($1)$TAB" "$work/notes"; }
count_notes() { grep -c -E "^($1)$TAB" "$work/notes"; }
messages() { grep -v -E "^($REASONS)$TAB|^exit [0-9]+\$" "$work/notes"; }

# A link to a folder above it, or to itself.
readonly LOOP='^find: File system loop detected|: Too many levels of symbolic links$'
loops() { messages | grep -E "$LOOP"; }
unread() { messages | grep -v -E "$LOOP"; }

unreadable() {
    unread
    notes unreadable | cut -f 2-
}

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
    count=$(unreadable | grep -c '')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" 'unreadable path') \
($(unreadable | head -n 1)), get read access and run again"
    count=$(loops | grep -c '')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" 'circular link') \
($(loops | head -n 1)), remove to silence"
    count=$(count_notes 'broken link')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" 'broken link'), repair or remove"
    count=$(count_notes 'line break')
    [ "$count" -eq 0 ] || warn "left out $(plural "$count" image) with a line break in the path, \
which a list of one path a line cannot hold: rename and run again"
}

# What is left out, with the reason before it; dot files and what is excluded are passed over.
left_out() {
    notes 'broken link|no image|text|line break'
    loops | sed "s/^/circular link$TAB/"
    unreadable | sed "s/^/unreadable$TAB/"
}

# Images in no folder of DIR are of a shop of DIR's name.
count_shops() {
    cut -b "$((${#1} + 2))-" "$work/list" | sed -e 's|^/*\([^/]*\)/.*|\1/|' -e t -e 's|.*||' |
        sort -u | grep -c ''
}

summary() {
    local images shops others left_out=''
    images=$(grep -c '' "$work/list")
    shops=$(count_shops "${dir%/}")
    others=$(count_notes 'no image|text')
    [ "$others" -eq 0 ] ||
        left_out=" ($(plural "$others" 'other file') left out, see $output.left_out)"
    printf '%s: %s in %s%s\n' \
        "$output" "$(plural "$images" image)" "$(plural "$shops" shop)" "$left_out"
}

# Puts the files beside the list first: with the list of before they do no harm.
place() {
    printf '%s\n' "$dir" >"$work/datalake" && mv -f -- "$work/datalake" "$1.datalake" || return
    left_out >"$work/left_out" || return
    if [ -s "$work/left_out" ]; then
        mv -f -- "$work/left_out" "$1.left_out" || return
    else
        rm -f -- "$1.left_out" || return
    fi
    mv -f -- "$work/list" "$1"
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
    place "$target" 2>/dev/null ||
        die "cannot replace '$output', get write access or name another file with -o"
    printf '%s\n' "$report"
}

main "$@"
