# What happens on a host. Ansible sends this text before the name of a function; $dir is the directory on the host, $owner says
# whose it is.
# shellcheck shell=sh disable=SC2154,SC2015
set -u
umask 077

# The processes that belong to the directory: those in it, and those of programs in it.
ours() {
    find /proc/[0-9]*/cwd /proc/[0-9]*/exe -prune \( -lname "$dir" -o -lname "$dir/*" \) 2>/dev/null |
        cut -d/ -f3 | sort -u | grep -vx "$$"
}

# Ends them.
stop() {
    for signal in TERM KILL; do
        tries=50
        while pids=$(ours) && [ $tries -gt 0 ]; do
            # shellcheck disable=SC2086
            [ $tries -lt 50 ] || kill -s $signal $pids 2>/dev/null
            tries=$((tries - 1))
            sleep 0.1
        done
    done
    ! ours >/dev/null
}

# Makes the directory, or takes over that of a start that was cut short: with the rows that are in it.
prepare() {
    if [ -d "$dir" ]; then
        [ -O "$dir" ] || { echo "$dir is another user's"; exit 10; }
        if [ "$(cat "$dir/owner" 2>/dev/null)" != "$owner" ]; then
            ! ours >/dev/null || { echo 'busy: another fleet measures on it'; exit 10; }
            rm -rf -- "$dir" && mkdir -- "$dir" || exit 1
        fi
        stop || { echo 'a run of an earlier start does not end'; exit 1; }
    else
        mkdir -- "$dir" || exit 1
    fi
    printf '%s\n' "$owner" >"$dir/owner"
}

# Checks the program ($1 is its sum), and has it look at the host.
doctor() {
    cd "$dir" && [ "$(sha256sum hpbench | cut -d' ' -f1)" = "$1" ] || { echo 'the program did not arrive whole'; exit 1; }
    ./hpbench doctor --json
}

# Prints how many bytes a file has.
size() { stat -c %s "$dir/$1" 2>/dev/null || echo 0; }

# Starts a run that outlives the connection: its name, the plan in base64, the longest time in seconds, the command.
start() {
    cd "$dir" && printf %s "$2" | base64 -d >plan && rm -f status || exit 1
    # shellcheck disable=SC2016
    setsid sh -c 'timeout -k 10 "$1" sh -c "$2" >out 2>err; echo $? >status' - "$3" "$4" </dev/null >/dev/null 2>&1 &
    echo $! >pid
}

# Prints whether a run goes on (running), has ended with a status (ended N), or is gone (lost); the size of its file; and why.
look() {
    cd "$dir" 2>/dev/null || { echo 'lost 0 the directory is gone'; exit 0; }
    state=lost
    # The file is read last: whoever ends between the two has written it.
    ! kill -0 "$(cat pid)" 2>/dev/null || state=running
    [ ! -s status ] || state=ended:$(cat status)
    echo "$state $(size "$1") $([ "$state" = running ] || tail -n 3 err | tr '\n' ' ')"
}

# Leaves nothing behind.
clean() {
    [ ! -d "$dir" ] || [ "$(cat "$dir/owner" 2>/dev/null)" = "$owner" ] || exit 0
    stop
    rm -rf -- "$dir"
    ! ours >/dev/null && [ ! -e "$dir" ] || { echo "something is left in $dir"; exit 1; }
}
