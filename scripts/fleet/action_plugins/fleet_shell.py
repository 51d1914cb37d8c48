"""Runs a function of host.sh on a host: by its shell, over the connection that is there. No Python runs there, and no file is left.

run: the function; whoever calls it looks at its `rc`. send: a file of the controller, for its standard input. rows: a file of the controller, to which the function
adds: it is called with the length of the whole lines that are there, and their sum, and prints, after a first line, where its bytes
belong, and these in base64."""

import base64
import hashlib
import os

from ansible.plugins.action import ActionBase


def whole(path):
    """The whole lines of a file: one that was cut is fetched again."""
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as file:
        text = file.read()
    return text[:text.rfind(b"\n") + 1]


class ActionModule(ActionBase):
    """The action."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        command, send, rows = (self._task.args.get(name) for name in ("run", "send", "rows"))
        data = None
        if send:
            with open(send, "rb") as file:
                data = file.read()
        if rows:
            known = whole(rows)
            command += " %d %s" % (len(known), hashlib.sha256(known).hexdigest())
        result.update(self._low_level_execute_command(command, in_data=data, executable=False), failed=False)
        if rows and result["rc"] == 0:
            # What is registered does not have the rows.
            result["stdout"], _, more = result["stdout"].partition("\n")
            result.pop("stdout_lines")
            start, _, more = more.partition("\n")
            more = base64.b64decode(more)
            if more:
                with open(rows + ".new", "wb") as file:
                    file.write(known[:int(start)] + more)
                os.replace(rows + ".new", rows)
        return result
