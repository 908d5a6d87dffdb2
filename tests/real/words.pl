# Hashes, regular expressions, sorting and an alarm that keeps ringing.
#     words.pl ROUNDS        appends to rounds.log, writes result.txt, exits with 3
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Time::HiRes qw(setitimer ITIMER_REAL);

my $rounds = shift;
my $alarms = 0;
$SIG{ALRM} = sub { $alarms++ };
setitimer(ITIMER_REAL, 0.02, 0.02);

open(my $log, '>>', 'rounds.log') or die "rounds.log: $!";
$log->autoflush(1);
my (%seen, $state);
$state = 12345;
for my $round (1 .. $rounds) {
    my @words;
    for (1 .. 2000) {
        $state = ($state * 1103515245 + 12345) % 2147483648;
        my $word = join '', map { chr(97 + ($state >> $_) % 26) } 3, 7, 11, 15;
        $word =~ s/([aeiou])/uc $1/ge;
        push @words, $word;
        $seen{$word}++;
    }
    my @sorted = sort { $seen{$b} <=> $seen{$a} || $a cmp $b } @words;
    print $log "$round ", scalar(keys %seen), " $sorted[0] ", md5_hex(join ' ', @sorted), "\n";
}
open(my $result, '>', 'result.txt') or die "result.txt: $!";
print $result "$_ $seen{$_}\n" for sort keys %seen;
close $result or die "result.txt: $!";
setitimer(ITIMER_REAL, 0);  # while perl takes itself apart at the end, an alarm finds its default action and ends it
print "alarms: ", ($alarms > 0 ? 'yes' : 'no'), "\n";
exit 3;
