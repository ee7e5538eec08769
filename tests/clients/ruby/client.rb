# Goes through what a mail program does, by net-imap. Arguments: port, CA file, user, password.
require "net/imap"

$stdout.sync = true
port, ca, user, password = ARGV
MESSAGE = "Subject: ruby\r\nContent-Type: text/plain\r\n\r\nby ruby\r\n"

def must(holds, what)
  raise what unless holds
end

imap = Net::IMAP.new("localhost", port: port.to_i, ssl: { ca_file: ca })
imap.login(user, password)
must imap.list("", "*").any? { |mailbox| mailbox.name == "Sent" && mailbox.attr.include?(:Sent) }, "LIST"
must imap.namespace.personal.first.delim == "/", "NAMESPACE"
must imap.getquotaroot("INBOX").first.quotaroots == [""], "GETQUOTAROOT"
must imap.getacl("INBOX").first.user == user, "GETACL"
mailbox = Net::IMAP.encode_utf7("Rüben & Co")
imap.create(mailbox)
imap.subscribe(mailbox)
must imap.lsub("", "*").map { |each| Net::IMAP.decode_utf7(each.name) }.include?("Rüben & Co"), "LSUB"
must imap.append(mailbox, MESSAGE, [:Flagged], Time.now).data.code.name == "APPENDUID", "APPEND"
imap.select(mailbox)
must imap.uid_search(["SUBJECT", "ruby"]) == [1], "SEARCH"
must imap.sort(["REVERSE", "DATE"], ["ALL"], "UTF-8") == [1], "SORT"
must imap.thread("REFERENCES", ["ALL"], "UTF-8").first.seqno == 1, "THREAD"
attributes = imap.fetch(1, %w[UID FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE BODY.PEEK[]]).first.attr
must attributes["BODY[]"] == MESSAGE, "BODY[]"
must attributes["ENVELOPE"].subject == "ruby", "ENVELOPE"
must attributes["BODYSTRUCTURE"].media_type == "TEXT", "BODYSTRUCTURE"
must imap.store(1, "+FLAGS", [:Seen, "$Work"]).first.attr["FLAGS"].include?("$Work"), "STORE"
must imap.copy(1, "Archive").data.code.name == "COPYUID", "COPY"
imap.uid_move(1, "Trash")
must imap.status(mailbox, %w[MESSAGES UIDNEXT]) == { "MESSAGES" => 0, "UIDNEXT" => 2 }, "STATUS"
imap.close
renamed = Net::IMAP.encode_utf7("日本")
imap.rename(mailbox, renamed)
imap.unsubscribe(mailbox)
imap.delete(renamed)
imap.examine("INBOX")
puts "IDLING"
heard = false
imap.idle(30) do |response|
  if response.is_a?(Net::IMAP::UntaggedResponse) && response.name == "EXISTS"
    heard = true
    imap.idle_done
  end
end
must heard, "EXISTS"
imap.logout
puts "DONE"
