#!/bin/sh
# Claude Code hook: put the payload on standard input into <data>/queue/incoming.
# Usage: hook.sh [<data folder> [mark [<size limit in MB>]]]
#
# For machines without Perl; hook.pl does the same in one process and says why things are as they are.
exec >/dev/null 2>/dev/null
umask 077
# cat and mv, which know no language, would load one: an eighth of the whole cost.
LC_ALL=C
export LC_ALL
PATH=/bin:/usr/bin:$PATH

data=$1
if [ -z "$data" ]; then
    data=${0%/capture/*}
    if [ "$data" = "$0" ] || [ ! -d "$data/queue" ]; then data=; fi
fi
megabytes=${3:-64}
queue=$data/queue
unfinished=

give_up() {
    if [ -n "$unfinished" ]; then rm -f "$unfinished"; fi
    cat # a writer with a full pipe must not wait
    if [ -n "$data" ]; then
        for log in "$queue/errors.log" "$data/capture-errors.log"; do
            if [ -n "$(find "$log" -size +2048 2>/dev/null)" ]; then continue; fi
            if (echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1" >>"$log"); then break; fi
        done
    fi
    exit 0
}

if [ -z "$data" ]; then give_up 'no data folder was given'; fi

# A name that no other capture can have: the kernel's, or the process, its parent and the clock.
name=
if [ -r /proc/sys/kernel/random/uuid ]; then read -r name </proc/sys/kernel/random/uuid; fi
if [ -z "$name" ]; then name=$(date +%s)-$$-$PPID-${RANDOM:-0}${RANDOM:-0}${RANDOM:-0}; fi

if [ ! -d "$queue/tmp" ] || [ ! -d "$queue/incoming" ]; then mkdir "$data" "$queue" "$queue/tmp" "$queue/incoming"; fi
unfinished=$queue/tmp/$name

# 512-byte blocks; the signal of the limit is ignored, so that cat says it failed and we tidy up.
trap '' 25
ulimit -f $((megabytes * 2048))
cat >"$unfinished" || give_up 'the payload cannot be written: no space, no permission, or larger than the limit'
if [ ! -s "$unfinished" ]; then give_up 'the payload is empty'; fi
mv "$unfinished" "$queue/incoming/$name.json" || give_up 'incoming cannot be written'
exit 0
