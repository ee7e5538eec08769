// Goes through what a mail program does, by imapflow. Arguments: port, CA file, user, password.
import { readFileSync } from "node:fs";
import { ImapFlow } from "imapflow";

const [port, ca, user, pass] = process.argv.slice(2);
const must = (holds, what) => {
  if (!holds) throw new Error(what);
};

const client = new ImapFlow({
  host: "localhost",
  port: Number(port),
  secure: true,
  auth: { user, pass },
  tls: { ca: readFileSync(ca) },
  logger: false,
});
await client.connect();
must((await client.list()).some((mailbox) => mailbox.specialUse === "\\Sent"), "LIST");
await client.mailboxCreate("imapflow");
const message =
  'Subject: imapflow\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="b"\r\n\r\n' +
  "--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b--\r\n";
const appended = await client.append("imapflow", message, ["\\Flagged"]);
must(appended.uid === 1, "APPENDUID");
await client.mailboxOpen("imapflow");
must((await client.search({ subject: "imapflow" }))[0] === 1, "SEARCH");
const one = await client.fetchOne("1", { bodyStructure: true, envelope: true, flags: true, source: true });
must(one.bodyStructure.childNodes.length === 2, "BODYSTRUCTURE");
must(one.envelope.subject === "imapflow" && one.flags.has("\\Flagged"), "ENVELOPE");
must(one.source.toString() === message, "BODY[]");
const { content } = await client.download("1", "2");
let html = "";
for await (const chunk of content) html += chunk;
must(html.includes("<p>html</p>"), "BODY[2]");
must(await client.messageFlagsAdd("1", ["\\Seen", "$Work"]), "STORE");
must((await client.fetchOne("1", { flags: true })).flags.has("$Work"), "FLAGS");
must((await client.messageCopy("1", "Archive")).uidMap.size === 1, "COPY");
must((await client.messageMove("1", "Trash")).uidMap.size === 1, "MOVE");
must(client.mailbox.exists === 0, "EXPUNGE");
await client.mailboxClose();
await client.mailboxDelete("imapflow");
await client.mailboxOpen("INBOX");
const arrived = new Promise((resolve) => client.on("exists", resolve));
const idling = client.idle();
console.log("IDLING");
await arrived;
await client.noop();
await idling;
await client.logout();
console.log("DONE");
