# What the scripts that record a run have in common. They source it at the top of the repository.
# shellcheck shell=bash

# Ends the script with a status, and says why.
fail() { printf '%s: %s\n' "${0##*/}" "$2" >&2; exit "$1"; }

# Prints the comment that the script begins with.
usage() { sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "scripts/${0##*/}"; }

# How hpbench is run: built here, or as HPBENCH says.
hpbench=(cargo run --release --locked --quiet --)
if [[ -n ${HPBENCH:-} ]]; then
    # It was named from where the script was started.
    if [[ $HPBENCH == */* && $HPBENCH != /* ]]; then HPBENCH=$OLDPWD/$HPBENCH; fi
    command -v "$HPBENCH" >/dev/null || fail 2 "HPBENCH names $HPBENCH, which is no program that can be run"
    hpbench=("${HPBENCH#"$PWD"/}")
fi

# Builds hpbench, so that nothing is built while something is measured.
build() { [[ -n ${HPBENCH:-} ]] || cargo build --release --locked --bin hpbench || fail 1 'hpbench cannot be built'; }

# Decides that `folder` is results/NAME.
choose_folder() {
    [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9_.+-]*$ ]] ||
        fail 2 "-n '$1': a name has letters, digits and any of _.+- and does not begin with a dot or dash"
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

# The words, as a shell reads them.
quoted() {
    local word words=()
    for word; do
        [[ $word =~ ^[A-Za-z0-9_./:,=+@%-]+$ ]] || word=${word@Q}
        words+=("$word")
    done
    printf '%s\n' "${words[*]}"
}

# A text in JSON. Without control characters, quotes and backslashes are all that has to be escaped.
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

# What each env.json begins with: when, of which version, and by which command (the words given) the run was made.
json_origin() {
    printf '  "date": %s,\n' "$(json "$(date -u +%Y-%m-%dT%H:%M:%SZ)")"
    printf '  "git": %s,\n' "$(json "$(git describe --always --dirty 2>/dev/null || true)")"
    printf '  "rustc": %s,\n' "$(json "$(rustc --version 2>/dev/null || true)")"
    printf '  "command": %s' "$(json_list "$@")"
}

# Runs a command to its end. SIGTERM is passed on to it; Ctrl-C reaches it without help, as it does this script.
run() {
    local child status=0
    trap : INT
    "$@" &
    child=$!
    trap 'kill -TERM "$child" 2>/dev/null || true' TERM
    # A signal ends the waiting, but not yet the command.
    while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
    wait "$child" || status=$?
    trap - INT TERM
    return "$status"
}

# Makes report.html of a CSV file.
report() {
    "${hpbench[@]}" report "$1" -o "$folder/report.html" --force
}
