# Sourced by demo-lab.sh and the lab's tests: one transfer each, checked on both ends; captures of the legs.
# shellcheck shell=bash

size_in_bytes() {
    case $1 in
        *MiB) echo $((${1%MiB} << 20)) ;;
        *KiB) echo $((${1%KiB} << 10)) ;;
        *) echo "$1" ;;
    esac
}

sum_of() { sha256sum "$1" | cut -d' ' -f1; }

# The options that put curl into MODE.
curl_mode() {
    case $1 in
        PASV) echo --disable-epsv ;;
        EPSV | EPSV6) echo ;;
        PORT) echo -P - --disable-eprt ;;
        EPRT | EPRT6) echo -P - ;;
    esac
}

# EPSV6 and EPRT6 are EPSV and EPRT over IPv6; the server's address for a URL.
server_host() { if [[ $1 == *6 ]]; then echo "[$LAB_SERVER6]"; else echo "$LAB_SERVER"; fi; }

lftp_mode() {
    case $1 in
        PASV) echo "set ftp:passive-mode yes; set ftp:prefer-epsv no;" ;;
        EPSV) echo "set ftp:passive-mode yes; set ftp:prefer-epsv yes;" ;;
        EPSV6) echo "set ftp:passive-mode yes;" ;;
        PORT | EPRT6) echo "set ftp:passive-mode no;" ;;
    esac
}

# client COMMAND...: in the client's namespace, within the time limit.
client() { lab_exec client timeout --foreground -k 2 "$limit" "$@" 2>>"$here/client.log"; }

# with_curl ARGUMENT...
with_curl() {
    # shellcheck disable=SC2046
    client curl -sS --connect-timeout "${LAB_PATIENCE:-10}" $(curl_mode "$mode") "$@"
}

# with_lftp COMMANDS
with_lftp() {
    client env "HOME=$LAB_STATE" lftp -c "set net:max-retries 1; set net:timeout 15; set cmd:fail-exit yes;
        $(lftp_mode "$mode") open ftp://$(server_host "$mode"); cd pub/t$n; $1"
}

# with_ncftp PROGRAM ARGUMENT...: ncftp has a program for each thing; it knows PORT and PASV only. It asks for the
# names of both ends first, and is told by nobody, soon: there is no name server at 127.0.0.1.
with_ncftp() {
    local program=$TG_LAB_DIR/root/usr/bin/$1 way=-F
    shift
    [ "$mode" = PASV ] || way=-E
    echo "nameserver 127.0.0.1" >"$LAB_STATE/resolv.conf"
    # shellcheck disable=SC2016
    client env "HOME=$LAB_STATE" unshare -m sh -c 'mount --bind "$HOME/resolv.conf" /etc/resolv.conf; exec "$@"' sh \
        "$program" "$way" -t 20 -r 0 "$@"
}

# with_tnftp COMMANDS: tnftp tries EPRT or EPSV first, and with epsv4 off never.
with_tnftp() {
    local passive=off extended=on
    [[ $mode != *S* ]] || passive=on
    [[ $mode == EP* ]] || extended=off
    client env "HOME=$LAB_STATE" "$TG_LAB_DIR/root/usr/bin/tnftp" -n -i -q 20 "$(server_host "$mode" | tr -d '[]')" <<END
user anonymous nobody@
epsv4 $extended
passive $passive
binary
cd pub/t$n
$1
bye
END
}

# The directory as the server shows it to itself, not through the router.
listing_at_the_server() { lab_exec server curl -sS "ftp://$(server_host "$mode")/pub/t$n/" >"$here/expected"; }

# run_transfer N MODE TOOL OPERATION SIZE: sets result ("identical" or "failed: reason"), seconds, bytes, sum.
run_transfer() {
    n=$1 mode=$2
    local tool=$3 operation=$4 size=$5 start
    bytes=$(size_in_bytes "$size")
    limit=${LAB_LIMIT:-25}
    [ "$bytes" -gt 100000000 ] && limit=100
    here=$LAB_STATE/client-$n
    there=$LAB_STATE/ftproot/pub/t$n
    rm -rf "$here" "$there"
    mkdir -p "$here" "$there"
    origin=$LAB_STATE/files/$size
    [ -e "$origin" ] || { mkdir -p "${origin%/*}" && head -c "$bytes" /dev/urandom >"$origin"; }
    half=$((bytes / 2))
    sum=- moved=0 result="failed: no result"
    prepare "$operation"
    chown -R daemon "$there"
    start=$EPOCHREALTIME
    if transfer_with "$tool" "$operation"; then
        compare "$operation"
    else
        result="failed: $tool: $(tail -n 1 "$here/client.log" | tr -d '\r')"
    fi
    seconds=$(awk "BEGIN {printf \"%.3f\", $EPOCHREALTIME - $start}")
    record_transfer "$n" "$mode" "$tool" "$operation" "$size" "$start"
    rm -rf "$here" "$there"
}

# What has to be there before.
prepare() {
    case $1 in
        upload) ;;
        append | resume-up) head -c "$half" "$origin" >"$there/file" ;;
        *) cp "$origin" "$there/file" ;;
    esac
    case $1 in
        resume) head -c "$half" "$origin" >"$here/file" ;;
        append) tail -c +$((half + 1)) "$origin" >"$here/rest" ;;
        upload | resume-up) cp "$origin" "$here/file" ;;
    esac
    # A file that stays, so that a listing is never empty.
    echo stays >"$there/other"
}

transfer_with() {
    local url
    url=ftp://$(server_host "$mode")/pub/t$n
    case $1-$2 in
        curl-list) with_curl "$url/" >"$here/listing" ;;
        curl-download) with_curl -o "$here/file" "$url/file" ;;
        curl-upload) with_curl -T "$here/file" "$url/file" ;;
        curl-append) with_curl -a -T "$here/rest" "$url/file" ;;
        curl-resume) with_curl -C - -o "$here/file" "$url/file" ;;
        curl-resume-up) with_curl -C - -T "$here/file" "$url/file" ;;
        curl-rename) with_curl -Q "RNFR /pub/t$n/file" -Q "RNTO /pub/t$n/renamed" "$url/" >"$here/listing" ;;
        curl-delete) with_curl -Q "DELE /pub/t$n/file" "$url/" >"$here/listing" ;;
        lftp-list) with_lftp "ls" >"$here/listing" ;;
        lftp-download) with_lftp "get file -o $here/file" ;;
        lftp-upload) with_lftp "put $here/file" ;;
        lftp-resume) with_lftp "get -c file -o $here/file" ;;
        lftp-resume-up) with_lftp "put -c $here/file" ;;
        lftp-rename) with_lftp "mv file renamed; ls" >"$here/listing" ;;
        lftp-delete) with_lftp "rm file; ls" >"$here/listing" ;;
        ncftp-list) with_ncftp ncftpls -l "$url/" >"$here/listing" ;;
        ncftp-download) with_ncftp ncftpget -V -C "$(server_host "$mode")" "/pub/t$n/file" "$here/file" ;;
        ncftp-upload) with_ncftp ncftpput -V -C "$(server_host "$mode")" "$here/file" "/pub/t$n/file" ;;
        tnftp-list) with_tnftp "dir . $here/listing" ;;
        tnftp-download) with_tnftp "get file $here/file" ;;
        tnftp-upload) with_tnftp "put $here/file file" ;;
        *) echo "there is no such transfer" >>"$here/client.log" && return 1 ;;
    esac
}

# Sets result and sum: the files at both ends, or the listing against the server's own.
compare() {
    local expected file
    case $1 in
        list | rename | delete)
            listing_at_the_server
            # curl writes LF where the wire has CR LF.
            moved=$(($(tr -d '\r' <"$here/expected" | wc -c) + $(wc -l <"$here/expected")))
            expected=$(tr -d '\r' <"$here/expected" | sha256sum | cut -d' ' -f1)
            sum=$(tr -d '\r' <"$here/listing" | sha256sum | cut -d' ' -f1)
            [ -s "$here/listing" ] || { result="failed: the listing is empty" && return; }
            case $1 in
                rename)
                    [ ! -e "$there/file" ] && [ "$(sum_of "$there/renamed")" = "$(sum_of "$origin")" ] ||
                        { result="failed: the file is not renamed" && return; }
                    ;;
                delete) [ ! -e "$there/file" ] || { result="failed: the file is still there" && return; } ;;
            esac
            ;;
        *)
            case $1 in download | resume) file=$here/file ;; *) file=$there/file ;; esac
            [ -e "$file" ] || { result="failed: no file arrived" && return; }
            case $1 in download | upload) moved=$bytes ;; *) moved=$((bytes - half)) ;; esac
            expected=$(sum_of "$origin")
            sum=$(sum_of "$file")
            ;;
    esac
    if [ "$sum" = "$expected" ]; then
        result=identical
    else
        result="failed: SHA-256 differs ($sum, not $expected)"
        # A file that ends too early is another fault than one with other bytes.
        [ -z "${file:-}" ] || result+="; $(wc -c <"$file") bytes, $(cmp "$file" "$origin" 2>&1 | sed "s|$LAB_STATE/||g")"
    fi
}

# Columns: number, mode, tool, operation, size, bytes of the file, start (seconds since 1970), seconds,
# SHA-256, bytes on the data connection, result.
record_transfer() {
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "$bytes" "${6:-0}" \
        "$seconds" "$sum" "$moved" "$result" >>"$LAB_STATE/transfers.tsv"
}

table() {
    awk -F'\t' '
        BEGIN { print " no  mode   client  operation   size     seconds    MB/s  sha256        result" }
        $1 > 0 {
            moved = ($4 == "download" || $4 == "upload") && $6 > 1000000 && $8 > 0
            rate = moved ? sprintf("%.1f", $6 / $8 / 1e6) : ""
            printf "%3d  %-5s  %-6s  %-10s  %-7s  %7.3f  %6s  %-12.12s  %s\n", $1, $2, $3, $4, $5, $8, rate, $9, $11
        }' "$LAB_STATE/transfers.tsv"
}

# captures_start DIR SET: captures of the lab's legs into DIR/SET-LEG.pcapng; the sets "big" and "big6" keep headers
# only. captures_stop ends them and writes what each lost to DIR/captures.tsv.
captures_running=()
captures_start() {
    captures_dir=$1 captures_set=$2
    local leg space device
    for leg in "${LAB_LEGS[@]}"; do
        IFS=: read -r leg space device <<<"$leg"
        local short=()
        [[ $captures_set == big* ]] && short=(-s 128)
        lab_spawn "capture-$leg" "$space" dumpcap -q -i "$device" -B 64 "${short[@]}" \
            -w "$captures_dir/$captures_set-$leg.pcapng"
        captures_running+=("$leg")
    done
    for leg in "${captures_running[@]}"; do
        lab_wait 5 grep -q '^File:' "$LAB_STATE/capture-$leg.log" || {
            warn "the capture on the $leg leg did not start:"
            cat "$LAB_STATE/capture-$leg.log" >&2
            return 1
        }
    done
}

captures_stop() {
    local leg line received dropped status=0
    [ ${#captures_running[@]} = 0 ] && return 0
    # The last frames must have passed through dumpcap's buffer.
    sleep 0.5
    for leg in "${captures_running[@]}"; do
        lab_stop "capture-$leg" INT
        line=$(grep 'received/dropped' "$LAB_STATE/capture-$leg.log" | tail -n 1)
        received=$(sed -n "s|.*': \([0-9]*\)/[0-9]* .*|\1|p" <<<"$line")
        dropped=$(sed -n "s|.*': [0-9]*/\([0-9]*\) .*|\1|p" <<<"$line")
        printf '%s\t%s\t%s\t%s\n' "$captures_set" "$leg" "${received:-unknown}" "${dropped:-unknown}" \
            >>"$captures_dir/captures.tsv"
        if [[ $captures_set == small* ]] && [ "$dropped" != 0 ]; then
            warn "the capture of the $leg leg lost ${dropped:-an unknown number of} frames"
            status=1
        fi
    done
    captures_running=()
    return $status
}
