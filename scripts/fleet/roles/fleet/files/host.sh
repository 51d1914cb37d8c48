# What happens on a host. Ansible sends this text before the name of a function; $dir is the directory on the host, $owner says
# whose it is.
# shellcheck shell=sh disable=SC2154,SC2015
set -u
umask 077
# /proc names directories without symbolic links. What a link leads to need not be there yet.
given=$dir
dir=$(readlink -f -- "$given")
# In /var/tmp anybody may make a link of that name, and lead a fleet that works as root to wherever he likes.
[ ! -L "$given" ] || [ "$(stat -c %u -- "$given")" = "$(id -u)" ] || { echo "$given is another user's link"; exit 10; }

# The processes that belong to the directory: those in it, and those of programs in it.
ours() {
    find /proc/[0-9]*/cwd /proc/[0-9]*/exe -prune \( -lname "$dir" -o -lname "$dir/*" \) 2>/dev/null |
        cut -d/ -f3 | sort -u | grep -vx "$$"
}

# Those but scripts/ab, and what waits for it.
runs_of_ab() { for pid in $(ours); do grep -q scripts/ab "/proc/$pid/cmdline" 2>/dev/null || echo "$pid"; done; }

# Ends them. scripts/ab takes its time: it restores the first state, once its run has ended.
stop() {
    for ends in 'TERM ours' 'KILL runs_of_ab' 'KILL ours'; do
        tries=${patience:-300}
        # shellcheck disable=SC2046
        kill -s "${ends% *}" $(${ends#* }) 2>/dev/null
        while ours >/dev/null && [ "$tries" -gt 0 ]; do
            tries=$((tries - 1))
            sleep 0.1
        done
    done
    ! ours >/dev/null
}

# Whether the directory is this fleet's.
is_ours() { [ -O "$dir" ] && [ "$(cat "$dir/owner" 2>/dev/null)" = "$owner" ]; }

# Makes the directory, or takes over that of a start that was cut short: with the rows that are in it.
prepare() {
    # An empty one is nobody's.
    rmdir -- "$dir" 2>/dev/null
    if [ -d "$dir" ]; then
        [ -O "$dir" ] || { echo "$dir is another user's"; exit 10; }
        is_ours || { echo "busy, or left by another fleet: remove $dir if that one is done"; exit 10; }
        stop || { echo 'a run of an earlier start does not end'; exit 1; }
    else
        mkdir -- "$dir" && printf '%s\n' "$owner" >"$dir/owner" || exit 1
    fi
}

# Writes a file: what comes from the standard input.
put() {
    is_ours || { echo "$dir is not this fleet's any more"; exit 10; }
    cd "$dir" && mkdir -p "$(dirname "$1")" && cat >"$1" || exit 1
}

# Puts rows back which are here already, or more of them. They are $2 bytes.
restore() {
    if [ "$(size "$1")" -lt "$2" ]; then put "$1"; else cat >/dev/null; fi
}

# Receives the program, checks it ($1 is its sum), and has it look at the host.
doctor() {
    put hpbench
    [ "$(sha256sum <hpbench)" = "$1  -" ] && chmod u+x hpbench || { echo 'the program did not arrive whole'; exit 1; }
    ./hpbench doctor --json
}

# Prints how many bytes a file has.
size() { stat -c %s "$dir/$1" 2>/dev/null || echo 0; }

# Starts a run that outlives the connection: its name, the plan in base64, the longest time in seconds, the command.
start() {
    is_ours || { echo "$dir is not this fleet's any more"; exit 10; }
    # What is left of a run whose process was killed.
    stop || { echo 'an earlier run does not end'; exit 1; }
    cd "$dir" && printf %s "$2" | base64 -d >plan && rm -f "$1.status" || exit 1
    # shellcheck disable=SC2016
    setsid sh -c 'timeout -k 30 "$1" sh -c "$2" >out 2>err; echo $? >"$3.status"' - "$3" "$4" "$1" </dev/null >/dev/null 2>&1 &
    echo $! >"$1.pid"
}

# Prints whether a run ($1) goes on (running), has ended with a status (ended:N), or is gone (lost); the size of its file; and why.
# Then the rows, if there are more than $2 bytes, whose sum is $3: where they begin, and in base64. A file may have been replaced.
look() {
    cd "$dir" 2>/dev/null || { echo 'lost 0 the directory is gone'; exit 0; }
    state=lost
    # The file is read last: whoever ends between the two has written it. After a boot, another process may have the number.
    [ "$(readlink "/proc/$(cat "$1.pid")/cwd" 2>/dev/null)" != "$dir" ] || state=running
    [ ! -s "$1.status" ] || state=ended:$(cat "$1.status")
    size=$(size "$1.csv")
    echo "$state $size $([ "$state" = running ] || tail -n 3 err | tr '\n' ' ')"
    [ "$size" -gt "$2" ] || exit 0
    start=$2
    [ "$(head -c "$start" "$1.csv" | sha256sum)" = "$3  -" ] || start=0
    echo "$start"
    head -c "$size" "$1.csv" | tail -c "+$((start + 1))" | base64
}

# Ends what runs, and leaves nothing behind; if files have more rows than are known (NAME=BYTES each), prints their runs instead.
finish() {
    [ -d "$dir" ] && is_ours || exit 0
    stop
    more=$(
        cd "$dir" && for file in *.csv; do
            known=0
            for word in "$@"; do [ "${word%=*}" != "$file" ] || known=${word##*=}; done
            [ ! -f "$file" ] || [ "$(size "$file")" -le "$known" ] || echo "${file%.csv}"
        done
    )
    [ -z "$more" ] || { echo "$more"; exit 0; }
    cd / && rm -rf -- "$dir"
    ! ours >/dev/null && [ ! -e "$dir" ] || { echo "something is left in $dir"; exit 1; }
}
