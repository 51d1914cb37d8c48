"""Files of the controller. write: texts, by path. remove: paths. keep: whether one that is there stays as it is."""

import os

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """The action."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        for path, text in self._task.args.get("write", {}).items():
            if not (self._task.args.get("keep") and os.path.exists(path)):
                with open(path + ".new", "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(path + ".new", path)
        for path in self._task.args.get("remove", []):
            if os.path.exists(path):
                os.remove(path)
        return result
