#!/usr/bin/env bash
# What is not ours goes back also when redirection made it larger than the link: an upload of full packets, by
# a session that began before the gateway joined, is redirected in fragments and returned in fragments.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
mkdir -p "$LAB_STATE/ftproot/pub/old" && chmod 777 "$LAB_STATE/ftproot/pub/old"
t_held 'f.expect(200, command="TYPE I")
listen = f.port()
f.send("STOR pub/old/file")
data, peer = listen.accept()
f.expect(150, 125)
data.sendall(bytes(range(256)) * 2000)
data.close()
f.expect(226)
print("done")'
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
t_go
check "the old session uploads 512,000 bytes" t_held_says 'done'
check "all of them" [ "$(stat -c %s "$LAB_STATE/ftproot/pub/old/file")" = 512000 ]
check "its packets were returned" more_than /counters/returned 100
t_tell
check "the gateway ends, with exit status 0" t_ended 10
check "having put fragments together" event '"state":"stopped".*reassembled=[0-9]{3}'
