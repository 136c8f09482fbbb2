# The errand of README.md with Mail::IMAPClient.
use strict;
use warnings;
use Mail::IMAPClient;

my ($port, $user, $file) = @ARGV;
$| = 1;
my $imap = Mail::IMAPClient->new(
    Server => '127.0.0.1', Port => $port, User => $user, Password => 'secret', Uid => 1, Peek => 1, Timeout => 30,
) or die "cannot log in: $@";

sub check { my ($result, $what) = @_; defined $result or die "$what: " . $imap->LastError . "\n"; return $result }

print "mailbox\t$_\n" for @{ check(scalar $imap->folders, 'folders') };
check($imap->select('INBOX'), 'select');
for my $uid (@{ check(scalar $imap->messages, 'messages') }) {
    my $octets = check($imap->message_string($uid), 'message_string');
    my $size = check($imap->size($uid), 'size');
    $size == length $octets or die "size $size of UID $uid, but ", length $octets, " octets";
    my @flags = grep { $_ ne '\Recent' } @{ $imap->flags($uid) };
    print join("\t", 'message', $uid, "@flags", unpack 'H*', $octets), "\n";
}
my @found = $imap->search('SUBJECT', 'letter 3', 'UNDRAFT');
print "found\t@found\n";

my $new = "Entw&APw-rfe/Neue &- alte";
check($imap->create($new), 'create');
open my $handle, '<:raw', $file or die $!;
my $octets = do { local $/; <$handle> };
check($imap->append_string($new, $octets, '\Draft $Errand', '29-Feb-2020 12:34:56 +0530'), 'append_string');
check($imap->store('1', '+FLAGS.SILENT', '(\Flagged)'), 'store');
check($imap->store('2', '-FLAGS', '(\Seen)'), 'store');
check($imap->store('3', '+FLAGS', '($Errand)'), 'store');
check($imap->store('4', '+FLAGS', '(\Answered)'), 'store');
check($imap->copy($new, 3, 4), 'copy');
check($imap->move($new, 5), 'move');
check($imap->delete_message(6), 'delete_message');
check($imap->expunge, 'expunge');

my $tag = check($imap->idle, 'idle');
print "idling\n";
my $exists;
while (not defined $exists) {
    my @told = $imap->idle_data(30);
    @told or die "nothing came\n";
    ($exists) = map { /^\* (\d+) EXISTS/ ? $1 : () } @told;
}
check($imap->done($tag), 'done');
my @uids = $imap->messages;
print "woken\t", $imap->subject($uids[$exists - 1]), "\n";
check($imap->logout, 'logout');
print "done\n";
