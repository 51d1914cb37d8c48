# Shared by scripts/sweep-batch and scripts/sweep-load. They source it after common.bash, set `options` to those
# of hpbench, and call read_arguments, begin, and, unless `resumes` is set, describe; then finish.
# shellcheck shell=bash disable=SC2154  # options, program and folder are set elsewhere

# 1 if a trial has failed already.
failed=0

# Reads the arguments: sets `folder` and `resumes`, and adds what is for hpbench to `options`.
# Usage: read_arguments NAME-BY-DEFAULT ARGUMENT...
read_arguments() {
    local name=$1
    resumes=''
    shift
    while (($#)); do
        case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        -n)
            (($# > 1)) || fail 2 '-n needs a name'
            name=$2
            shift
            ;;
        --resume) resumes=yes ;;
        --)
            shift
            check_options "$@"
            # An option that is given again overrides the one before.
            options+=("$@")
            [[ -z $resumes ]] || fail 2 '--resume repeats the recorded command; leave out the options after --'
            break
            ;;
        *) fail 2 "unknown option $1; options of hpbench come after --" ;;
        esac
        shift
    done
    choose_folder "$name"
    csv=$folder/run.csv
}

# Refuses the options that are the script's own business.
check_options() {
    local option
    for option; do
        case $option in
        -h | --help | -V | --version) fail 2 "$option cannot be given to hpbench here: it would not run" ;;
        -o* | --out | --out=* | --append | --resume | --force | --dry-run | --hlog | --hlog=*)
            fail 2 "$option cannot be given to hpbench here: the script chooses the files"
            ;;
        esac
    done
}

# Makes the folder, or finds the one to resume. Bad options end the script before that.
begin() {
    if [[ -n $resumes ]]; then
        [[ -s $folder/command ]] || fail 2 "--resume: there is no run in $folder to resume; name one with -n"
        recall
        build
        return
    fi
    if [[ -s $folder/comparison.txt ]]; then fail 2 "$folder exists; name another folder with -n"; fi
    if [[ -e $folder ]]; then
        fail 2 "$folder holds an unfinished run; complete it with --resume, or name another folder with -n"
    fi
    build
    "$program" "${options[@]}" --dry-run >/dev/null || exit
    make_folder run.csv
}

# Reads the recorded command: sets `arguments`, and with which program they go.
recall() {
    local lines words begun_with=$target/release/hpbench
    mapfile -t lines <"$folder/command"
    eval "words=(${lines[-1]})"
    arguments=("${words[@]:1}")
    case ${lines[0]} in
    'cargo build '*) ;;
    # As it was recorded when each step was a command that built the program.
    'cargo run --release --locked --quiet -- '*) arguments=("${words[@]:6}") ;;
    *)
        begun_with=${words[0]}
        use "$begun_with" "$folder/command"
        ;;
    esac
    [[ ${arguments[*]: -3} == "-o $csv --resume" ]] || fail 2 "$folder/command does not record a sweep into $csv"
    [[ ${HPBENCH:-$begun_with} == "$begun_with" ]] ||
        fail 2 "--resume needs the program that the run was started with, $begun_with; unset HPBENCH"
}

# Records the command and the machine. Reports how long it will take, and what cannot run here.
describe() {
    local doctor
    arguments=("${options[@]}" -o "$csv" --resume)
    record_command "${arguments[@]}"
    doctor=$("$program" doctor --json) || fail 1 'hpbench doctor failed'
    {
        printf '{\n'
        json_origin
        printf ',\n  "doctor": %s\n}\n' "$(sed '2,$s/^/  /' <<<"$doctor")"
    } >"$folder/env.json"
    "$program" "${options[@]}" --dry-run | sed -n '/ cells × /,$p' >&2
}

# Runs the recorded command; then compares and reports. Ends the script.
finish() {
    local status=$failed again
    again="scripts/${0##*/} --resume -n ${folder#results/}"
    run "$program" "${arguments[@]}" >"$folder/table.part" || status=$?
    if ((status == 2)); then
        # Nothing was run: the files of the finished run are still valid.
        rm -f "$folder/table.part"
        exit 2
    fi
    rm -f "$folder/comparison.txt" "$folder/table.txt"
    cat "$folder/table.part"
    # What a run prints, it prints at its end: 1 may also mean that a trial failed.
    if ((status > 1)) || [[ ! -s $folder/table.part ]]; then
        rm -f "$folder/table.part"
        [[ ! -e $csv ]] || printf '%s: ended early; finished rows are in %s; resume with: %s\n' "${0##*/}" "$csv" "$again" >&2
        exit "$((status ? status : 1))"
    fi
    mv "$folder/table.part" "$folder/table.txt"
    # What cannot be compared is marked, and does not keep the rest from being compared. A backend with several modes is no
    # side of a comparison: then its modes are.
    "$program" compare --by backend --force "$csv" >"$folder/comparison.txt" 2>&1 ||
        "$program" compare --by variant --force "$csv" >"$folder/comparison.txt" 2>&1 || status=1
    cat "$folder/comparison.txt"
    report "$csv" || status=1
    printf 'everything is in %s\n' "$folder" >&2
    exit "$status"
}
