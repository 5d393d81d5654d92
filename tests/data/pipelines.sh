### sort
seq 1 100000 | sort -rn | head -3 | tee /tmp/x; wc -l </tmp/x
### count words
printf 'b a\nc b\nb\n' | tr ' ' '\n' | sort | uniq -c | sort -k1,1nr -k2
### substitution
x=$(seq 5 | sed -n '2p;4p' | tr '\n' '+'); echo $((${x%+}))
### nested
echo $(echo $(echo $(echo deep | cat) | cat) | rev)
### awk
seq 1 1000 | awk '{ s += $1; q += $1 * $1 } END { print NR, s, q, s / NR }'
### awk program
printf 'a,1\nb,2\na,3\n' | awk -F, '{ n[$1] += $2 } END { for (k in n) print k, n[k] }' | sort
### sed
seq 20 | sed -e '/5$/d' -e 's/^1\(.\)/<\1>/' -e '$!N;s/\n/ /'
### tar
mkdir -p /tmp/t/d; seq 9 >/tmp/t/d/n; tar -C /tmp -czf - t | tar -tzf - | sort
### tar through
mkdir -p /tmp/a/b /tmp/c; echo in >/tmp/a/b/f; tar -C /tmp/a -cf - . | tar -C /tmp/c -xf -; cat /tmp/c/b/f
### gzip
seq 10000 | gzip -c | gunzip | md5sum
### bzip2
seq 10000 | bzip2 -c | bunzip2 | sha1sum
### checksums
echo abc | tee /tmp/f | sha256sum; sha512sum </tmp/f; sha3sum </tmp/f; cksum </tmp/f; sum /tmp/f
### base64
seq 50 | base64 | base64 -d | tail -2
### find
mkdir -p /tmp/f/x/y; touch /tmp/f/1.c /tmp/f/x/2.c /tmp/f/x/y/3.h; find /tmp/f -name '*.c' | sort | xargs -n1 basename
### find exec
mkdir /tmp/e; cd /tmp/e; seq 3 | xargs -I@ touch file@; find . -type f -exec echo found {} + | wc -w
### grep
seq 200 | grep -E '(.)\1' | grep -vc 0
### while read
printf '1 one\n2 two\n' | while read -r n name; do echo "$name=$n"; done
### here document
cat <<END | tr a-z A-Z
home is $HOME
$(echo and more)
END
### status
true | false; echo $?; ! true; echo $?; (exit 7); echo $?; sh -c 'kill -9 $$'; echo $?
### and or
false && echo no || echo yes; { echo a; echo b; } | wc -l
### redirections
{ echo out; echo err >&2; } 2>&1 >/tmp/o | sed s/^/piped:/; cat /tmp/o
### broken pipe
yes | head -2; yes 2>/dev/null | head -c 100000 | wc -c
### background
sleep 0.1 & p=$!; wait $p; echo waited $?; (exit 3) & wait $!; echo $?
### named pipe
mkfifo /tmp/p; { seq 5 | cat >/tmp/p; } & sort -r </tmp/p; wait
### traps
trap 'echo bye' EXIT; trap 'echo usr1' USR1; kill -USR1 $$; echo end
### functions
f() { local x=$1; [ $x -le 1 ] && echo 1 && return; echo $((x * $(f $((x - 1))))); }; f 6
### case and for
for w in a.c b.h Makefile; do case $w in *.c) echo C;; *.h) echo H;; *) echo $w;; esac; done
### arithmetic
echo $((2 ** 10 % 7)) $((0x1f | 1 << 6)); echo '2^100' | bc; echo '3 4 * p' | dc; expr 6 \* 7
### time zone
TZ=CET-1CEST,M3.5.0,M10.5.0/3 date -d @1700000000; date -u -d @0 +%F
### cut and paste
seq 6 | paste - - - | cut -f1,3 | od -An -c | head -2
### split and cat
cd /tmp; seq 100 | split -l 30 - part; cat part* | md5sum; ls part* | wc -l
### editors
printf 'one\ntwo\n' >/tmp/e; printf '2s/two/2/\nw\nq\n' | ed /tmp/e; cat /tmp/e
### diff and patch
cd /tmp; seq 5 >a; seq 2 6 >b; diff -u a b | sed 1,2d; diff -u a b | patch a; cmp a b && echo same
### cpio
cd /tmp; mkdir c; echo hi >c/f; find c | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null | sort
### hexdump
printf '\001\002abc' | hexdump -C; printf 'x%.0s' 1 2 3 | xxd
### timeout
timeout 1 sleep 20; echo $?; timeout 9 echo in time
### environment
env -i A=1 sh -c 'echo $A; env | sort | grep ^A'
### read a long line
seq 1 20000 | tr '\n' ' ' | wc -c; x=$(seq 1 20000); echo ${#x}; echo "$x" | tail -1
### xargs parallel
seq 8 | xargs -P4 -n1 sh -c 'echo $((0$0 * 2))' | sort -n | tr '\n' ' '
