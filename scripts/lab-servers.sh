# Sourced by lab.sh: FTP servers in the namespace "server", unpacked and never installed.
# shellcheck shell=bash

# lab_vsftpd [6] [KEY=VALUE...]: starts the FTP server, with 6 the one of IPv6 beside it; ftproot/pub may be written by
# clients. LAB_VSFTPD is a name for one more, at another LAB_SERVER, LAB_VSFTPD_AT another namespace and interface for it.
lab_vsftpd() {
    local root=$LAB_STATE/ftproot name=${LAB_VSFTPD:-vsftpd} listen="listen=YES
listen_address=$LAB_SERVER"
    if [ "${1:-}" = 6 ]; then
        shift
        name=vsftpd6 listen="listen=NO
listen_ipv6=YES
listen_address6=$LAB_SERVER6"
    fi
    unpack_program usr/sbin/vsftpd vsftpd || return 1
    mkdir -p "$root/pub" "$LAB_STATE/empty"
    chown root:root "$root" "$LAB_STATE/empty" && chmod 755 "$root" "$LAB_STATE/empty"
    chown daemon "$root/pub" && chmod 755 "$root/pub"
    cat >"$LAB_STATE/$name.conf" <<CONF
$listen
background=NO
ftpd_banner=lab
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
ftp_username=daemon
nopriv_user=nobody
anon_root=$root
anon_umask=022
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
pasv_min_port=30000
pasv_max_port=39999
port_enable=YES
connect_from_port_20=YES
secure_chroot_dir=$LAB_STATE/empty
tcp_wrappers=NO
xferlog_enable=YES
vsftpd_log_file=$LAB_STATE/vsftpd-transfers.log
$(printf '%s\n' "$@")
CONF
    chown root:root "$LAB_STATE/$name.conf"
    # On the processor that takes its interface's frames: Linux can lose the peer's FIN when one processor
    # handles it while another, closing the socket, handles the ACK before it (tcp_rcv_state_process says so
    # itself), and the FIN that is then sent again would count against the gateway.
    local cpus space device
    IFS=: read -r space device <<<"${LAB_VSFTPD_AT:-server:s0}"
    cpus=$(lab_exec "$space" cat "/sys/class/net/$device/queues/rx-0/rps_cpus")
    lab_spawn "$name" "$space" taskset "${cpus:-1}" env "LD_LIBRARY_PATH=$(unpacked_libraries)" \
        "$TG_LAB_DIR/root/usr/sbin/vsftpd" "$LAB_STATE/$name.conf"
    lab_wait 5 lab_listens "-$([ "$name" = vsftpd6 ] && echo 6 || echo 4)" "$space" 21 || {
        warn "$name did not start:"
        cat "$LAB_STATE/$name.log" >&2
        return 1
    }
}

# lab_proftpd [6]: the FTP server with TLS, in place of the other one, with 6 in both families; the same directory for
# anonymous clients. LAB_TLS_REQUIRED=ctrl: it insists on TLS, and answers CCC with 534.
lab_proftpd() {
    local root=$TG_LAB_DIR/root state=$LAB_STATE addresses=$LAB_SERVER ipv6=off
    lab_stop vsftpd
    [ "${1:-}" != 6 ] || { lab_stop vsftpd6 && addresses="$LAB_SERVER $LAB_SERVER6" ipv6=on; }
    unpack_program usr/sbin/proftpd proftpd-core proftpd-mod-crypto || return 1
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout "$state/tls.key" -out "$state/tls.crt" \
        2>/dev/null || return 1
    chmod 600 "$state/tls.key"
    chmod 777 "$state/ftproot/pub"
    cat >"$state/proftpd.conf" <<CONF
ServerName lab
ServerType standalone
DefaultServer on
DefaultAddress $addresses
SocketBindTight on
UseIPv6 $ipv6
UseReverseDNS off
Port 21
User nobody
Group nogroup
ModulePath $root/usr/lib/proftpd
LoadModule mod_tls.c
PassivePorts 30000 39999
# Or it could not connect from port 20.
RootRevoke off
PidFile $state/proftpd.pid
ScoreboardFile $state/proftpd.scores
DelayTable none
SystemLog $state/proftpd-system.log
LogFormat commands "%r"
ExtendedLog $state/proftpd-commands.log ALL commands
WtmpLog off
TLSEngine on
TLSRequired ${LAB_TLS_REQUIRED:-off}
TLSProtocol TLSv1.2 TLSv1.3
TLSRSACertificateFile $state/tls.crt
TLSRSACertificateKeyFile $state/tls.key
TLSOptions NoSessionReuseRequired
<Anonymous $state/ftproot>
User daemon
Group daemon
UserAlias anonymous daemon
RequireValidShell off
AllowOverwrite on
</Anonymous>
CONF
    lab_spawn proftpd server env "LD_LIBRARY_PATH=$(unpacked_libraries)" "$root/usr/sbin/proftpd" -n -c "$state/proftpd.conf"
    lab_wait 5 lab_listens -4 server 21 || {
        warn "proftpd did not start:"
        cat "$state/proftpd.log" >&2
        return 1
    }
}

# lab_pureftpd [6]: Pure-FTPd in place of the others, with 6 beside it the one of IPv6; the same directory for anonymous
# clients.
lab_pureftpd() {
    local root=$TG_LAB_DIR/root state=$LAB_STATE name address
    unpack_program usr/sbin/pure-ftpd pure-ftpd || return 1
    # It serves anonymous clients if there is a user "ftp", and the host is to have none for it: the server sees a
    # list of users of its own.
    sed '/^ftp:/d' /etc/passwd >"$state/passwd"
    echo "ftp:x:$(id -u daemon):$(id -g daemon)::$state/ftproot:/usr/sbin/nologin" >>"$state/passwd"
    for name in pureftpd $([ "${1:-}" != 6 ] || echo pureftpd6); do
        [ "$name" = pureftpd ] && address=$LAB_SERVER || address=$LAB_SERVER6
        lab_spawn "$name" server env "LD_LIBRARY_PATH=$(unpacked_libraries)" unshare -m sh -c \
            "mount --bind '$state/passwd' /etc/passwd && exec '$root/usr/sbin/pure-ftpd' -S '$address,21' -e -H \
            -p 30000:39999 -U 022:022 -I 30 -g '$state/$name.pid' -O 'clf:$state/pureftpd-transfers.log'"
    done
    lab_wait 5 lab_listens -4 server 21 || {
        warn "pure-ftpd did not start:"
        cat "$state/pureftpd.log" >&2
        return 1
    }
}

# lab_server vsftpd|pureftpd|proftpd [6]: this server and no other.
lab_server() {
    local name
    for name in vsftpd vsftpd6 pureftpd pureftpd6 proftpd; do lab_stop "$name"; done
    case $1 in
        # Pure-FTPd refuses anonymous clients what is root's; ProFTPD and vsftpd take either.
        vsftpd) lab_vsftpd && { [ "${2:-}" != 6 ] || lab_vsftpd 6; } ;;
        *) "lab_$1" "${2:-}" ;;
    esac
}
