# POP3 with Net::POP3 or, without TLS, Mail::POP3Client. Arguments: library, port, "plain", "starttls" or "tls", the file
# with the server's certificate, user. Prints what README.md says of POP3, and marks the first message as deleted.
use strict;
use warnings;
use IO::Socket::SSL;

my ($library, $port, $tls, $ca, $user) = @ARGV;
my @verified = (SSL_ca_file => $ca, SSL_verify_mode => SSL_VERIFY_PEER, SSL_verifycn_scheme => 'pop3', SSL_verifycn_name => '127.0.0.1');
my %run = ('Net::POP3' => \&net_pop3, 'Mail::POP3Client' => \&pop3client);
$run{$library}->();

sub message {
    my ($number, $size, $uid, $octets) = @_;
    print join("\t", 'message', $number, $size, $uid, unpack('H*', $octets)), "\n";
}

sub net_pop3 {
    require Net::POP3;
    my $pop = Net::POP3->new('127.0.0.1', Port => $port, SSL => $tls eq 'tls', @verified) or die "connect: $@";
    if ($tls eq 'starttls') { $pop->starttls(@verified) or die 'starttls: ' . $pop->message }
    # Authen::SASL chooses a mechanism
    my $count = $ENV{SASL} ? ($pop->auth($user, 'secret') ? keys %{ $pop->list } : undef) : $pop->login($user, 'secret');
    defined $count or die 'login: ' . $pop->message;
    print "count\t", $count + 0, "\n";
    for my $number (1 .. $count) {
        message($number, $pop->list($number), $pop->uidl($number), join('', @{ $pop->get($number) }));
    }
    print "top\t", scalar(@{ $pop->top($count, 0) }), "\n";
    $pop->delete(1) or die 'delete';
    $pop->quit;
    print "done\n";
}

sub pop3client {
    require Mail::POP3Client;
    my $pop = Mail::POP3Client->new(
        HOST => '127.0.0.1', PORT => $port, USER => $user, PASSWORD => 'secret', AUTH_MODE => 'PASS',
    );
    die 'login: ' . $pop->Message if $pop->Count < 0;
    print "count\t", $pop->Count, "\n";
    for my $number (1 .. $pop->Count) {
        my $size = (split ' ', $pop->List($number))[1];
        my $uid = (split ' ', $pop->Uidl($number))[-1];
        message($number, $size, $uid, scalar $pop->HeadAndBody($number));
    }
    print "top\t", scalar(my @lines = $pop->Head($pop->Count)), "\n";
    $pop->Delete(1) or die 'delete';
    $pop->Close;
    print "done\n";
}
