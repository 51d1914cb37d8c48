"""Opens the directory of results, or continues those of an earlier start; says its id, and the sum of the program.

path: the directory. program: the file. sha256: its sum, or nothing. of: what else identifies the results."""

import fcntl
import hashlib
import os
import secrets

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def process(number):
    """A process, by its number and when it was started; empty if there is none."""
    try:
        with open("/proc/%s/stat" % number, encoding="utf-8") as stat:
            return "%s %s" % (number, stat.read().rpartition(")")[2].split()[19])
    except OSError:
        return ""


def lock(path):
    """Takes the directory for this start, until its process ends; fails if another one has it."""
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        other, ours = file.read(), process(os.getppid())
        if other and other == process(other.split()[0]) and other != ours:
            raise AnsibleActionFail("the process %s measures with %s; wait until it has ended" % (other.split()[0], os.path.dirname(path)))
        file.truncate(0)
        file.write(ours)


class ActionModule(ActionBase):
    """The action."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        path, program, sha256, of = (self._task.args[name] for name in ("path", "program", "sha256", "of"))
        if not os.path.isabs(path):
            raise AnsibleActionFail("fleet_results is %s; name an absolute path: -e fleet_results=$PWD/%s" % (path, path))
        try:
            with open(program, "rb") as file:
                found = hashlib.sha256(file.read()).hexdigest()
        except OSError as error:
            raise AnsibleActionFail("%s; scripts/build-static makes the program" % error) from error
        if sha256 not in ("", found):
            raise AnsibleActionFail("%s is not the program with the sum %s; scripts/build-static makes one, and prints its sum" % (program, sha256))
        if not self._task.check_mode:
            for folder in ("runs", "left"):
                os.makedirs(os.path.join(path, folder), exist_ok=True)
            lock(os.path.join(path, "lock"))
        for name, text in (("of", "program %s\n%s" % (found, of)), ("id", secrets.token_hex(16))):
            if not os.path.exists(os.path.join(path, name)):
                if self._task.check_mode:
                    # A look at what there is to do decides nothing.
                    result[name] = text
                    continue
                with open(os.path.join(path, name + ".new"), "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(os.path.join(path, name + ".new"), os.path.join(path, name))
            with open(os.path.join(path, name), encoding="utf-8") as file:
                result[name] = file.read()
        if result["of"] != "program %s\n%s" % (found, of):
            raise AnsibleActionFail("%s has runs of another program or another plan; choose another directory: -e fleet_results=DIR" % path)
        return dict(result, sum=found)
