#!/usr/bin/env bash
# When all data ports of a client and server pair are announced and unused, the next passive announcement
# waits, then is 425; the session lives on and PORT works.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
check "the gateway joins" t_gateway 'data_ports = [2020, 2021]'
check "the third announcement waits and gets 425, then PORT works" script <<'PY'
from ftp import *
sessions = [Ftp() for _ in range(3)]
ports = [s.pasv()[1] for s in sessions[:2]]
need(sorted(ports) == [2020, 2021], f"announced {ports}")
start = time.monotonic()
code, text = sessions[2].cmd("PASV")
waited = time.monotonic() - start
need(code == 425 and 3 < waited < 9, f"after {waited:.1f} s: {text}")
listen = sessions[2].port()
sessions[2].send("LIST pub")
data, _ = listen.accept()
sessions[2].expect(150, 125)
sessions[2].finish(data)
PY
check "an announcement that is used frees its port for one that waits" script <<'PY'
from ftp import *
import threading
# Other source address: the ports announced above are this address's no more than another's.
a, b, c = (Ftp(source="10.0.0.11") for _ in range(3))
ports = [s.epsv() for s in (a, b)]
result = []
t = threading.Thread(target=lambda: result.append(c.cmd("EPSV")))
t.start()
time.sleep(1)
need(not result, f"not waiting: {result}")
a.retrieve("LIST pub", a.connect(ports[0]))
t.join(10)
need(result and result[0][0] == 229, f"{result}")
PY
