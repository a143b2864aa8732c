#!/usr/bin/perl
# Claude Code hook: put the payload on standard input into <data>/queue/incoming, in one process.
# Usage: hook.pl [<data folder> [mark [<size limit in MB>]]]
#
# Says nothing, never fails (Claude Code reads output and exit codes), and publishes whole files only:
# temporary file, then rename. No module is loaded and nothing is forked: that is most of the cost.
# The payload's own words (session id, event name) never reach a path. The time of capture is the
# file's mtime, which rename keeps. No fsync: it costs 12 ms at p99. hook.sh is the same without Perl.
open STDOUT, '>', '/dev/null';
open STDERR, '>', '/dev/null';
umask 077;
$SIG{XFSZ} = $SIG{PIPE} = 'IGNORE';

# Without arguments (an old version that does not know `args`) the script's own place tells the folder.
$data = $ARGV[0];
if (!defined $data or $data eq '') { ($data) = $0 =~ m{\A(.+)/capture/[^/]+\z}; $data = undef unless defined $data and -d "$data/queue"; }
$limit = (($ARGV[2] || 0) > 0 ? $ARGV[2] : 64) * 1048576;
$name = sprintf '%d-%d-%08x%08x', time, $$, rand 4294967296, rand 4294967296;
$unfinished = defined $data ? "$data/queue/tmp/$name" : undef;

sub give_up {
    my $reason = shift;
    unlink $unfinished if defined $unfinished;
    1 while sysread STDIN, $block, 1048576;    # a writer with a full pipe must not wait
    if (defined $data) {
        for $log ("$data/queue/errors.log", "$data/capture-errors.log") {
            next if (-s $log || 0) > 1048576;
            my @t = gmtime;
            $line = sprintf "%04d-%02d-%02dT%02d:%02d:%02dZ %s\n", $t[5] + 1900, $t[4] + 1, @t[3, 2, 1, 0], $reason;
            last if open LOG, '>>', $log and defined syswrite LOG, $line;
        }
    }
    exit 0;
}

give_up('no data folder was given') unless defined $data;
if (!open FILE, '>', $unfinished) {
    mkdir $_ for $data, "$data/queue", "$data/queue/tmp", "$data/queue/incoming";
    open FILE, '>', $unfinished or give_up("tmp cannot be written: $!");
}
$total = 0;
while (1) {
    $count = sysread STDIN, $block, 262144;
    give_up("standard input cannot be read: $!") unless defined $count;
    last unless $count;
    $total += $count;
    give_up("the payload is larger than $limit bytes") if $total > $limit;
    $done = 0;
    while ($done < $count) {
        $written = syswrite FILE, $block, $count - $done, $done;
        give_up("the payload cannot be written: $!") unless defined $written;
        $done += $written;
    }
}
close FILE or give_up("the payload cannot be written: $!");
give_up('the payload is empty') unless $total;
if (!rename $unfinished, "$data/queue/incoming/$name.json") {
    mkdir "$data/queue/incoming";
    rename $unfinished, "$data/queue/incoming/$name.json" or give_up("incoming cannot be written: $!");
}
exit 0;
