# What scripts/sweep-batch and scripts/sweep-load have in common. They source it after common.bash, set `options` to those
# of hpbench, and call read_arguments, begin, and, unless `resumes` is set, describe; then finish.
# shellcheck shell=bash disable=SC2154  # options and folder are set elsewhere

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
            [[ -z $resumes ]] || fail 2 '--resume goes on with the recorded command; leave out what is after --'
            break
            ;;
        *) fail 2 "there is no option $1; those of hpbench come after --" ;;
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
        -o* | --out | --out=* | --append | --resume | --force | --dry-run | --hlog | --hlog=*)
            fail 2 "$option cannot be given to hpbench here: what is written where is the script's business"
            ;;
        esac
    done
}

# Makes the folder, or finds the one to go on with. Bad options end the script before.
begin() {
    if [[ -n $resumes ]]; then
        [[ -f $folder/command ]] || fail 2 "--resume: there is no run in $folder to go on with; name one with -n"
        build
        return
    fi
    if [[ -s $folder/comparison.txt ]]; then fail 2 "$folder is there already; name another one with -n"; fi
    if [[ -e $folder ]]; then
        fail 2 "$folder holds a run that has not ended; go on with it by --resume, or name another one with -n"
    fi
    build
    "${hpbench[@]}" "${options[@]}" --dry-run >/dev/null || exit
    make_folder run.csv
}

# Records the command, and which machine it is. Tells how long it will take, and what cannot run here.
describe() {
    local doctor
    command=("${hpbench[@]}" "${options[@]}" -o "$csv" --resume)
    quoted "${command[@]}" >"$folder/command"
    doctor=$("${hpbench[@]}" doctor --json) || fail 1 'hpbench doctor failed'
    {
        printf '{\n'
        json_origin "${command[@]}"
        printf ',\n  "doctor": %s\n}\n' "$(sed '2,$s/^/  /' <<<"$doctor")"
    } >"$folder/env.json"
    "${hpbench[@]}" "${options[@]}" --dry-run | sed -n '/ cells × /,$p' >&2
}

# Runs the recorded command; then compares and reports. Ends the script.
finish() {
    local command status=0 again
    again="scripts/${0##*/} --resume -n ${folder#results/}"
    eval "command=($(<"$folder/command"))"
    rm -f "$folder/comparison.txt"
    run "${command[@]}" >"$folder/table.txt" || status=$?
    cat "$folder/table.txt"
    # What a run prints, it prints at its end: 1 may also mean that a trial failed.
    if ((status > 1)) || [[ ! -s $folder/table.txt ]]; then
        rm -f "$folder/table.txt"
        [[ ! -e $csv ]] || printf '%s: ended early; finished rows are in %s; go on with: %s\n' "${0##*/}" "$csv" "$again" >&2
        exit "$((status ? status : 1))"
    fi
    # What cannot be compared is marked, and does not keep the rest from being compared.
    if ! "${hpbench[@]}" compare --by backend --force "$csv" >"$folder/comparison.txt" 2>&1; then
        status=1
    fi
    cat "$folder/comparison.txt"
    report "$csv" || status=1
    printf 'everything is in %s\n' "$folder" >&2
    exit "$status"
}
