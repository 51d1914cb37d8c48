# Shared by the scripts that record a run, and by scripts/check. They source it at the top of the repository.
# shellcheck shell=bash

# Ends the script with a status, and says why.
fail() { printf '%s: %s\n' "${0##*/}" "$2" >&2; exit "$1"; }

# Prints the comment that the script begins with.
usage() { sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "scripts/${0##*/}"; }

# Chooses an existing program to run: the first argument, which the second names.
use() {
    program=$(type -P "$1") || fail 2 "$2 names $1, which is not an executable program"
    is_built=''
}

# The program that is run: the one that HPBENCH names, else the one that is built here.
target=${CARGO_TARGET_DIR:-target}
program=$target/release/hpbench
is_built=yes
if [[ -n ${HPBENCH:-} ]]; then
    if [[ $HPBENCH == */* ]]; then
        # It was named from where the script was started, and is called from here.
        [[ $HPBENCH == /* ]] || HPBENCH=$OLDPWD/$HPBENCH
        HPBENCH=${HPBENCH#"$PWD"/}
        [[ $HPBENCH == */* ]] || HPBENCH=./$HPBENCH
    fi
    use "$HPBENCH" HPBENCH
fi

# Builds the program, unless it is there already. That is done once, at the start: what measures and what compares are then
# the same program, whatever is edited or committed meanwhile, and nothing is built between the two.
build() {
    [[ -n $is_built ]] || return 0
    # Named here, the directory is the one where the program is looked for, whatever cargo's configuration says.
    cargo build --release --locked --bin hpbench --target-dir "$target" || fail 1 'hpbench cannot be built'
    [[ -x $program ]] || fail 1 "cargo did not create $program; name the program it created: HPBENCH=PATH"
}

# Decides that `folder` is results/NAME.
choose_folder() {
    [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9_.+-]*$ ]] ||
        fail 2 "-n '$1': a name has letters, digits and any of _.+- and must not begin with a dot or dash"
    folder=results/$1
}

# Makes the folder. It is removed again if the script ends before there is the file named: a folder without a
# row says nothing, and would be in the way of the next run.
make_folder() {
    awaited=$folder/$1
    mkdir -p results
    mkdir "$folder" || fail 1 "cannot make $folder"
    trap '[[ -e $awaited ]] || rm -r -- "$folder"' EXIT
}

# The words, quoted for a shell.
quoted() {
    local word words=()
    for word; do
        [[ $word =~ ^[A-Za-z0-9_./:,=+@%-]+$ ]] || word=${word@Q}
        words+=("$word")
    done
    printf '%s\n' "${words[*]}"
}

# Records in the folder by which command the program is run, with the arguments given: one for a shell at the top of any
# checkout. Sets `command` to its words, without the line that builds the program.
record_command() {
    command=("$program" "$@")
    [[ -z $is_built ]] || command=(target/release/hpbench "$@")
    {
        [[ -z $is_built ]] || echo 'cargo build --release --locked --bin hpbench --target-dir target &&'
        quoted "${command[@]}"
    } >"$folder/command"
}

# A text in JSON. Without control characters, only quotes and backslashes have to be escaped.
json() {
    local text=${1//[[:cntrl:]]/}
    text=${text//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# The texts as a list in JSON.
json_list() {
    local text separator=''
    printf '['
    for text; do
        printf '%s%s' "$separator" "$(json "$text")"
        separator=', '
    done
    printf ']'
}

# The beginning of each env.json: the date, the version and the command of the run.
json_origin() {
    printf '  "date": %s,\n' "$(json "$(date -u +%Y-%m-%dT%H:%M:%SZ)")"
    printf '  "git": %s,\n' "$(json "$(git describe --always --dirty 2>/dev/null || true)")"
    printf '  "rustc": %s,\n' "$(json "$(rustc --version 2>/dev/null || true)")"
    printf '  "command": %s' "$(json_list "${command[@]}")"
}

# The status that a signal during `run` gives the script: 0 before there was one.
signal=0

# Runs a command to its end. SIGTERM and SIGHUP are passed on to it as SIGTERM; Ctrl-C reaches it without help, as it does
# this script. The script's own traps are as before afterwards.
run() {
    local child='' status=0 traps
    traps=$(trap -p INT TERM HUP)
    trap 'signal=130' INT
    trap 'signal=143; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM HUP
    "$@" &
    child=$!
    # A signal between the last two lines has not reached it.
    ((signal != 143)) || kill -TERM "$child" 2>/dev/null || true
    # A signal ends the waiting, but not yet the command.
    while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
    wait "$child" || status=$?
    trap - INT TERM HUP
    eval "$traps"
    return "$status"
}

# Makes report.html of a CSV file.
report() {
    "$program" report "$1" -o "$folder/report.html" --force
}
