// Goes through what a mail program does, by emersion/go-imap. Arguments: port, CA file, user, password.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/emersion/go-imap"
	"github.com/emersion/go-imap/client"
)

const message = "Subject: go-imap\r\nContent-Type: text/plain\r\n\r\nby go\r\n"

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func check(holds bool, what string) {
	if !holds {
		log.Fatal(what)
	}
}

func main() {
	port, ca, user, password := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	pem, err := os.ReadFile(ca)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := client.DialTLS("localhost:"+port, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	must(err)
	must(c.Login(user, password))

	mailboxes := make(chan *imap.MailboxInfo, 50)
	must(c.List("", "*", mailboxes))
	found := false
	for mailbox := range mailboxes {
		found = found || mailbox.Name == "Sent"
	}
	check(found, "LIST")

	must(c.Create("go"))
	when := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	must(c.Append("go", []string{imap.FlaggedFlag}, when, bytes.NewBufferString(message)))
	status, err := c.Select("go", false)
	must(err)
	check(status.Messages == 1, "SELECT")

	criteria := imap.NewSearchCriteria()
	criteria.Header.Add("Subject", "go-imap")
	criteria.WithFlags = []string{imap.FlaggedFlag}
	numbers, err := c.Search(criteria)
	must(err)
	check(len(numbers) == 1, "SEARCH")

	set := new(imap.SeqSet)
	set.AddNum(1)
	section := &imap.BodySectionName{}
	messages := make(chan *imap.Message, 1)
	items := []imap.FetchItem{imap.FetchEnvelope, imap.FetchBodyStructure, imap.FetchInternalDate, section.FetchItem()}
	must(c.Fetch(set, items, messages))
	one := <-messages
	check(one.Envelope.Subject == "go-imap", "ENVELOPE")
	check(one.BodyStructure.MIMEType == "text", "BODYSTRUCTURE")
	check(one.InternalDate.Equal(when), "INTERNALDATE")
	body, err := io.ReadAll(one.GetBody(section))
	must(err)
	check(string(body) == message, "BODY[]")

	must(c.Store(set, imap.FormatFlagsOp(imap.AddFlags, true), []interface{}{imap.SeenFlag, "$Work"}, nil))
	must(c.Copy(set, "Archive"))
	must(c.Move(set, "Trash"))
	left, err := c.Status("go", []imap.StatusItem{imap.StatusMessages})
	must(err)
	check(left.Messages == 0, "MOVE")
	must(c.Close())
	must(c.Delete("go"))

	before, err := c.Select("INBOX", false)
	must(err)
	exists := before.Messages
	updates := make(chan client.Update, 10)
	c.Updates = updates
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- c.Idle(stop, nil) }()
	fmt.Println("IDLING")
	for update := range updates {
		if mailbox, ok := update.(*client.MailboxUpdate); ok && mailbox.Mailbox.Messages > exists {
			break
		}
	}
	c.Updates = nil
	close(stop)
	must(<-done)
	must(c.Logout())
	fmt.Println("DONE")
}
