# SPDX-License-Identifier: Apache-2.0
"""A vtpmd for the tests of read-only mode, on kernel nodes or on sockets."""
from harness import Vtpmd
from tpm_commands import Tpm, startup


class Host(Vtpmd):
    def node(self):
        """The option of `create` that says where a device's clients find it."""
        return [] if self.kernel else ["--node", "socket"]

    def create(self, name, *options, start=True):
        """One device, started."""
        view = self.ctl("create", name, *self.node(), *options, *(["--start"] if start else []))
        if start and not self.kernel and view["kind"] != "container":
            with self.open(view) as tpm:  # else the firmware's
                tpm.ask(startup())
        return view

    @staticmethod
    def open(view):
        return Tpm(view["device_path"] or view["socket_path"])
