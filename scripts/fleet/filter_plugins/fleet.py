"""What a fleet's playbooks compute: which runs there are, in which rounds, and whether a host is fit."""

import json
import os
import re


def units(hosts, pairs, runs):
    """The runs: one for each host or pair, `runs` times. A run is named after its hosts and its number."""
    if pairs == "all":
        hosts_of = [[a, b] for at, a in enumerate(hosts) for b in hosts[at + 1:]]
    else:
        for pair in pairs:
            if len(pair) != 2 or pair[0] == pair[1]:
                raise ValueError("fleet_pairs: %s is no pair of two hosts" % pair)
            unknown = [host for host in pair if host not in hosts]
            if unknown:
                raise ValueError("fleet_pairs: there is no host %s" % unknown[0])
        hosts_of = [list(pair) for pair in pairs] or [[host] for host in hosts]
    found = []
    for number in range(1, int(runs) + 1):
        for of in hosts_of:
            label = "--".join(of)
            name = "%s.%d" % (re.sub(r"[^A-Za-z0-9._-]", "_", label), number)
            found.append({"name": name, "label": label, "hosts": of, "worker": of[0], "number": number})
    names = [unit["name"] for unit in found]
    if len(set(names)) < len(names):
        raise ValueError("two hosts have names that differ in special characters only")
    return found


def boots(units, kernels):
    """Gives each run its kernel and its pair: A B B A A B …, so that a drift of the host is none of the kernels'."""
    found = []
    for unit in units:
        pair, place = divmod(unit["number"] - 1, len(kernels))
        order = kernels if pair % 2 == 0 else kernels[::-1]
        found.append(dict(unit, kernel=order[place], pair=pair + 1))
    return found


def needs(unit, hostvars):
    """What a run has for itself: its hosts, the machines that they are guests of, and the links between them."""
    of = unit["hosts"]
    taken = {("host", host) for host in of}
    taken |= {("machine", hostvars[host].get("fleet_machine")) for host in of if hostvars[host].get("fleet_machine")}
    links = {hostvars[host].get("fleet_link") or None for host in of}
    # Hosts behind the same link reach each other without it.
    return taken | ({("link", link) for link in links if link} if len(links) > 1 else set())


def rounds(units, hostvars, all_fit=False):
    """Puts the runs into rounds in which no two need the same thing; each into the first that has room for it."""
    units = [unit for unit in units if all_fit or not any(left_out(host, hostvars) for host in unit["hosts"])]
    units = [dict(unit, told=" ".join([unit["name"], unit.get("kernel", "")]).strip()) for unit in units]
    found = []
    for number in sorted({unit["number"] for unit in units}):
        taken, first = [], len(found)
        for unit in in_circle([unit for unit in units if unit["number"] == number]):
            wanted = needs(unit, hostvars)
            at = next((at for at, used in enumerate(taken) if not used & wanted), len(taken))
            if at == len(taken):
                taken.append(set())
                found.append([])
            taken[at] |= wanted
            found[first + at].append(unit)
    return found


def left_out(host, hostvars):
    """Why a host does not take part; empty if it does."""
    return " ".join((hostvars[host].get("fleet_why", "it was not reached") or "").split())


def in_circle(units):
    """All pairs of n hosts in the order of a tournament, which takes n - 1 rounds (n, if n is odd); others as they are."""
    hosts = sorted({host for unit in units for host in unit["hosts"]})
    pairs = {frozenset(unit["hosts"]): unit for unit in units}
    count = len(hosts) + len(hosts) % 2
    if any(len(pair) != 2 for pair in pairs) or len(units) != len(pairs) or len(units) != len(hosts) * (len(hosts) - 1) // 2:
        return units
    table = hosts + [None] * (count - len(hosts))
    ordered = []
    for _ in range(count - 1):
        met = (frozenset((table[at], table[-1 - at])) for at in range(count // 2))
        ordered.extend(pairs[pair] for pair in met if pair in pairs)
        table = [table[0], table[-1]] + table[1:-1]
    return ordered


def unfit(text, needs, ignore):
    """Why the doctor finds a host unfit; empty if it does not."""
    try:
        report = json.loads(text)
        bad = [
            check
            for check in report["checks"]
            if check["ok"] is False and set(check["affects"]) & set(needs) and check["name"] not in ignore
        ]
        if bad:
            what = "busy" if any(check["name"] == "other_programs" for check in bad) else "unfit"
            return "%s: %s" % (what, "; ".join("%s: %s" % (check["name"], check["state"]) for check in bad))
        unknown = [need for need in needs if report["verdict"][need] is None]
        return "unfit: it is not known whether it is fit for %s" % ", ".join(unknown) if unknown else ""
    except (ValueError, KeyError, TypeError) as error:
        return "the doctor's report cannot be read: %r" % (error,)


def looked(result):
    """The state of a run: (running | ended:STATUS | lost | unreachable), the size of its file, and what it said last."""
    if result.get("unreachable"):
        said = str(result.get("msg", "")).splitlines() or [""]
        return {"state": "unreachable", "size": 0, "said": said[-1]}
    words = result.get("stdout", "").strip().split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        said = result.get("stdout", "") + result.get("stderr", "") or str(result.get("msg", ""))
        return {"state": "lost", "size": 0, "said": " ".join(said.split())}
    return {"state": words[0], "size": int(words[1]), "said": words[2].strip() if len(words) > 2 else ""}


def held(unit, lost, hostvars):
    """Why a run is not started: one that was lost sight of may go on, with what this one needs. Empty if it is started."""
    wanted = needs(unit, hostvars)
    of = [other["name"] for other in lost if needs(other, hostvars) & wanted]
    return "it was not started, because %s may still go on" % of[0] if of else ""


def stopped(unit, hostvars, lost):
    """Why a run was not started; empty if it was."""
    worker = hostvars[unit["worker"]]
    return worker.get("fleet_gone") or (worker.get("fleet_stopped") or {}).get(unit["name"]) or held(unit, lost, hostvars)


def astray(units, hostvars, lost):
    """The runs of a round that may still go on, because nobody has seen them end. `lost` are those of earlier rounds."""
    started = [unit for unit in units if not stopped(unit, hostvars, lost)]
    seen = {unit["name"]: looked(hostvars[unit["worker"]].get("fleet_looks", {}))["state"] for unit in started}
    return [unit for unit in started if seen[unit["name"]] in ("unreachable", "running")]


def outcomes(units, hostvars, results, lost):
    """Why each run of a round failed; empty where it is whole."""
    found = {}
    for unit in units:
        worker = hostvars[unit["worker"]]
        why = stopped(unit, hostvars, lost)
        if why:
            found[unit["name"]] = " ".join(why.split())
            continue
        looks = looked(worker.get("fleet_looks", {}))
        path = os.path.join(results, "runs", unit["name"] + ".csv")
        if looks["state"] != "ended:0":
            state = looks["state"].replace("ended:", "it ended with status ").replace("unreachable", "it is out of reach:")
            state = state.replace("running", "it has not ended in time")
            why = "%s %s" % (state.replace("lost", "it is gone: something ended it, or its host was booted."), looks["said"])
        elif fetched(path) == 0 or fetched(path) != looks["size"]:
            why = "%d of %d bytes of its file were fetched" % (fetched(path), looks["size"])
        else:
            why = ""
        found[unit["name"]] = why.strip()
    return found


def known(units, host, results):
    """How long the files of rows of a host's runs are here, as words: NAME.csv=BYTES."""
    files = [unit["name"] + ".csv" for unit in units if unit["worker"] == host]
    return " ".join("%s=%d" % (name, fetched(os.path.join(results, "runs", name))) for name in files)


def fetched(path):
    """How many bytes of a file are here."""
    return os.path.getsize(path) if os.path.exists(path) else 0


def undone(units, told, hostvars):
    """The runs that are not whole, each with the reason."""
    lines = []
    for unit in units:
        if told.get(unit["name"]) == "":
            continue
        out = ["%s is left out: %s" % (host, left_out(host, hostvars)) for host in unit["hosts"] if left_out(host, hostvars)]
        why = told.get(unit["name"]) or "; ".join(out) or "it was not started"
        lines.append("%s: %s" % (unit["name"], why))
    return lines


def amiss(hostvars, results):
    """What is not as it was on hosts: whose default entry has moved, and where something is left."""
    found = ["%s: %s" % (host, " ".join(hostvars[host]["fleet_amiss"].split())) for host in hostvars if hostvars[host].get("fleet_amiss")]
    left = os.path.join(results, "left")
    for host in sorted(os.listdir(left)):
        with open(os.path.join(left, host), encoding="utf-8") as text:
            found.append("%s: %s" % (host, " ".join(text.read().split())))
    return found


class FilterModule:
    """The filters, by their names."""

    def filters(self):
        return {
            "fleet_units": units,
            "fleet_boots": boots,
            "fleet_rounds": rounds,
            "fleet_unfit": unfit,
            "fleet_looked": looked,
            "fleet_outcomes": outcomes,
            "fleet_undone": undone,
            "fleet_size": fetched,
            "fleet_known": known,
            "fleet_held": held,
            "fleet_amiss": amiss,
            "fleet_astray": astray,
        }
