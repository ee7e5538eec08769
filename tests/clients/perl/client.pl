# Goes through what a mail program does, by Mail::IMAPClient. Arguments: port, CA file, user, password.
use strict;
use warnings;
use Mail::IMAPClient;

$| = 1;
my ($port, $ca, $user, $password) = @ARGV;
my $message = "Subject: perl\r\nContent-Type: text/plain\r\n\r\nby perl\r\n";

my $imap = Mail::IMAPClient->new(
    Server => 'localhost', Port => $port, User => $user, Password => $password, Uid => 1, Timeout => 30,
    Ssl => [ SSL_ca_file => $ca, SSL_verify_mode => 1 ],
) or die "login: $@";

sub must { my ($holds, $what) = @_; die "$what: " . ($imap->LastError // '') unless $holds; return $holds }

must((grep { $_ eq 'Sent' } $imap->folders), 'LIST');
must($imap->create('perl'), 'CREATE');
my $uid = must($imap->append_string('perl', $message, '\Flagged'), 'APPEND');
must($imap->select('perl'), 'SELECT');
must(($imap->search('SUBJECT', $imap->Quote('perl')))[0] == $uid, 'SEARCH');
must($imap->get_bodystructure($uid)->bodytype eq 'TEXT', 'BODYSTRUCTURE');
must($imap->message_string($uid) eq $message, 'BODY[]');
must($imap->get_envelope($uid)->subject eq 'perl', 'ENVELOPE');
must($imap->set_flag('$Work', $uid), 'STORE');
must((grep { $_ eq '$Work' } $imap->flags($uid)), 'FLAGS');
must($imap->copy('Archive', $uid), 'COPY');
must($imap->move('Trash', $uid), 'MOVE');
must($imap->expunge, 'EXPUNGE');
must($imap->message_count == 0, 'STATUS');
must($imap->close, 'CLOSE');
must($imap->delete('perl'), 'DELETE');
must($imap->select('INBOX'), 'SELECT');
my $tag = must($imap->idle, 'IDLE');
print "IDLING\n";
my @data = $imap->idle_data(30);
must((grep { /EXISTS/ } map { ref ? @$_ : $_ } @data), 'EXISTS');
must($imap->done($tag), 'DONE');
must($imap->logout, 'LOGOUT');
print "DONE\n";
