#!/usr/bin/env bash
# 200 sessions at once, three transfers each, from one address and from 50: all identical, and what they took of the
# gateway's memory is there for the next.
source "$(dirname "$0")/harness.sh"
# The server would take all of them for one client.
t_begin max_per_ip=0 max_clients=0
t_router
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
# The server takes 32 connections that it has not accepted yet. Of what comes beyond, a SYN cookie leaves one end with a
# connection that the other knows nothing of, and nobody speaks in it ever; without cookies a SYN is sent again.
lab_exec server sysctl -qw net.ipv4.tcp_syncookies=0
room() { [ "$(lab_exec server ss -Hltn "sport = :21" | awk '{ print $2 }')" -lt 16 ]; }
for n in {100..149}; do lab_exec client ip addr add "10.0.0.$n/24" dev c0; done
for n in 1 2 3; do head -c $((n * 20000)) /dev/urandom >"$LAB_STATE/ftproot/pub/file$n"; done
mkdir -p "$LAB_STATE/many"
# round ADDRESSES: 200 sessions, from as many addresses; counts in identical what is.
round() {
    local n jobs=() job way ok=0
    rm -f "$LAB_STATE"/many/* "$LAB_STATE/many.log"
    for n in {0..199}; do
        way=(--disable-epsv)
        [ $((n % 8)) = 0 ] && lab_wait 20 room
        case $((n % 4)) in 1) way=() ;; 2) way=(-P - --disable-eprt) ;; 3) way=(-P -) ;; esac
        lab_exec client curl -sS -m 80 --connect-timeout 40 --interface "10.0.0.$((100 + n % $1))" "${way[@]}" \
            "ftp://$LAB_SERVER/pub/file1" -o "$LAB_STATE/many/$n-1" \
            "ftp://$LAB_SERVER/pub/file2" -o "$LAB_STATE/many/$n-2" \
            "ftp://$LAB_SERVER/pub/file3" -o "$LAB_STATE/many/$n-3" 2>>"$LAB_STATE/many.log" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" && ok=$((ok + 1)); done
    identical=0
    for n in {0..199}-{1..3}; do
        if cmp -s "$LAB_STATE/many/$n" "$LAB_STATE/ftproot/pub/file${n#*-}"; then
            identical=$((identical + 1))
        else
            say "  $n differs: $(stat -c %s "$LAB_STATE/many/$n" 2>&1) bytes"
        fi
    done
    # curl's own status is that of its last file.
    say "  from $1: $ok sessions ended well, $identical files are identical"
    sort "$LAB_STATE/many.log" 2>/dev/null | uniq -c | tail -n 5
    [ "$ok" = 200 ] && [ "$identical" = 600 ]
}
closed() { [ "$(grep -c '"state":"closed"' "$LAB_STATE/events.jsonl")" -ge $((200 * rounds)) ]; }
# rested: fifteen seconds after the last session of a round, and what the process holds then, in KiB.
rounds=0
rested() {
    rounds=$((rounds + 1))
    check "the gateway closed every session" lab_wait 20 closed
    sleep 15
    rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$(lab_pid tidegate)/status")
    say "  it holds $rss KiB"
}
check "from 50 addresses" round 50
rested
first=$rss
check "from one" round 1
rested
check "from 50 addresses again" round 50
rested
check "the process holds what it held ($first KiB, then $rss KiB)" [ "$rss" -le $((first + first / 20)) ]
kill -s TERM "$(lab_pid tidegate)"
ended() { ! lab_alive tidegate; }
check "the gateway ends" lab_wait 20 ended
check "it says so" event '"state":"stopped".*rx_frames='
# Its last words name what is not 0.
kept() { event '"state":"stopped".*frames_held='; }
check "it had given back every frame" eval '! kept'
