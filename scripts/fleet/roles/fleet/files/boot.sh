# What a host does to boot other kernels. Ansible sends this text after host.sh and before the name of a function. $root is empty,
# or where a test keeps its own files.
# shellcheck shell=sh disable=SC2154,SC2015

# Which of the two boot loaders is in charge: that of systemd tells so itself.
loader() {
    if bootctl is-installed >/dev/null 2>&1 && [ -d "$root/sys/firmware/efi" ]; then
        echo systemd
    elif [ -e "$root/boot/grub/grub.cfg" ]; then
        echo grub
    elif [ -e "$root/boot/grub2/grub.cfg" ]; then
        echo grub2
    else
        echo 'there is neither GRUB nor systemd-boot' >&2
        exit 20
    fi
}

grub_tool() { command -v "grub-$1" || command -v "grub2-$1" || { echo "there is no grub-$1" >&2; exit 20; }; }

# The default entry, and its kernel: what is booted if nobody says otherwise. An entry may keep its name and get another kernel:
# Debian's first one is always of the newest.
default() {
    case $(loader) in
        systemd)
            bootctl list --json=short 2>/dev/null | tr '{' '\n' | grep '"isDefault":true' |
                sed -n -e 's/.*"id":"\([^"]*\)".*"linux":"\([^"]*\)".*/\1 \2/p' -e t -e 's/.*"id":"\([^"]*\)".*/\1/p'
            ;;
        *)
            saved=$("$(grub_tool editenv)" - list | sed -n 's/^saved_entry=//p')
            [ -z "$saved" ] || echo "$saved $(kernel_of "$saved")"
            ;;
    esac
}

# The kernel of an entry of GRUB, which is named by id, by title or by number, each as a path through the menus.
kernel_of() {
    # shellcheck disable=SC2016
    entry=$1 awk '
        function id(line,   words) { sub(/.*menuentry_id_option[ \t]+/, "", line); split(line, words, "\047"); return words[2] }
        function title(line,   words) { split(line, words, /[\047"]/); return words[2] }
        function is(path) { return path == ENVIRON["entry"] }
        /^submenu /  { ids = id($0) ">"; titles = title($0) ">"; numbers = top++ ">"; inner = 0 }
        /^}/         { ids = titles = numbers = "" }
        /^[ \t]*menuentry / {
            number = numbers == "" ? top++ : numbers inner++
            found = is(ids id($0)) || is(titles title($0)) || is(number "")
        }
        /^[ \t]*linux/ && found { print $2; exit }
    ' "$root/boot/$(loader)/grub.cfg"
}

# The entry of a kernel. GRUB's are named by the path through its menus.
entry() {
    case $(loader) in
        systemd) bootctl list --json=short 2>/dev/null | tr '{' '\n' | grep -F -- "$1" | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' | head -n 1 ;;
        *)
            # shellcheck disable=SC2016
            awk -v kernel="$1" '
                # The id is what follows $menuentry_id_option, in quotes.
                function id(line,   words) { sub(/.*menuentry_id_option[ \t]+/, "", line); split(line, words, "\047"); return words[2] }
                /^submenu /  { menu = id($0) ">" }
                /^}/         { menu = "" }
                /^[ \t]*menuentry / { here = id($0); if ($0 ~ /recovery/) here = "" }
                /^[ \t]*linux/ && here != "" && index($2 " ", "vmlinuz-" kernel " ") { print (/^\t\t/ ? menu : "") here; exit }
            ' "$root/boot/$(loader)/grub.cfg"
            ;;
    esac
}

# Fails unless a kernel that panics or hangs makes room for the default.
check() {
    words=$(cat "$root/proc/cmdline")
    case " $words " in
        *' panic='[1-9]* | *' panic=-1'*) ;;
        *) echo 'panic=SECONDS is not on the kernel command line: a kernel that panics would not reboot'; exit 21 ;;
    esac
    set -- "$root"/dev/watchdog[0-9]*
    [ -e "$1" ] || { echo 'there is no watchdog: a kernel that hangs would not reboot'; exit 22; }
    grep -Eqs '^(RuntimeWatchdogSec|RebootWatchdogSec)=[1-9]' "$root"/etc/systemd/system.conf "$root"/etc/systemd/system.conf.d/*.conf ||
        [ -e "$root/run/watchdog.pid" ] || { echo 'nothing feeds the watchdog: set RuntimeWatchdogSec= in systemd, or run a daemon'; exit 22; }
    case $(loader) in
        grub | grub2)
            grep -Eqs '^GRUB_DEFAULT="?saved"?$' "$root/etc/default/grub" ||
                { echo 'GRUB_DEFAULT is not saved: a one-time entry would have no effect'; exit 23; }
            ;;
    esac
    [ -n "$(default)" ] || { echo 'no default entry is saved: grub-set-default or bootctl set-default names one'; exit 23; }
    case $(default) in *' ') echo "the default entry $(default)is not in GRUB's menu: grub-set-default names one that is"; exit 23 ;; esac
}

# Has the next boot, and only that, be of a kernel ($1). The default ($2) is not touched, and must not have moved.
once() {
    [ "$(default)" = "$2" ] || { echo "the default entry has moved: it was $2, and is $(default)"; exit 24; }
    found=$(entry "$1")
    [ -n "$found" ] || { echo "there is no entry for the kernel $1"; exit 25; }
    case $(loader) in
        systemd) bootctl set-oneshot "$found" ;;
        *) "$(grub_tool reboot)" "$found" ;;
    esac || { echo "the one-time entry $found is refused"; exit 25; }
    [ "$(default)" = "$2" ] || { echo "the one-time entry has moved the default: it was $2, and is $(default)"; exit 24; }
}

# Takes a one-time entry back that was not booted.
never() {
    case $(loader) in
        systemd) bootctl set-oneshot '' ;;
        *) "$(grub_tool editenv)" - unset next_entry ;;
    esac >/dev/null
}

# Fails unless this kernel runs: $1, by the command $2.
runs() {
    running=$($2)
    [ "$running" = "$1" ] || { echo "it runs $running instead of $1"; exit 26; }
}
