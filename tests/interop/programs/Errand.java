// The errand of README.md with Jakarta Mail.

import com.sun.mail.imap.AppendUID;
import com.sun.mail.imap.IMAPFolder;
import com.sun.mail.imap.IMAPMessage;
import jakarta.mail.FetchProfile;
import jakarta.mail.Flags;
import jakarta.mail.Folder;
import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Store;
import jakarta.mail.UIDFolder;
import jakarta.mail.event.MessageCountAdapter;
import jakarta.mail.event.MessageCountEvent;
import jakarta.mail.internet.MimeMessage;
import jakarta.mail.search.AndTerm;
import jakarta.mail.search.FlagTerm;
import jakarta.mail.search.SubjectTerm;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Date;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

class Errand {
    static void say(Object... words) {
        List<String> texts = new ArrayList<>();
        for (Object word : words) texts.add(String.valueOf(word));
        System.out.println(String.join("\t", texts));
        System.out.flush();
    }

    static String flags(Message message) throws Exception {
        List<String> names = new ArrayList<>();
        if (message.isSet(Flags.Flag.SEEN)) names.add("\\Seen");
        if (message.isSet(Flags.Flag.ANSWERED)) names.add("\\Answered");
        if (message.isSet(Flags.Flag.FLAGGED)) names.add("\\Flagged");
        if (message.isSet(Flags.Flag.DRAFT)) names.add("\\Draft");
        if (message.isSet(Flags.Flag.DELETED)) names.add("\\Deleted");
        names.addAll(List.of(message.getFlags().getUserFlags()));
        return String.join(" ", names);
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("mail.imap.peek", "true");
        properties.put("mail.imap.timeout", "30000");
        Session session = Session.getInstance(properties);
        Store store = session.getStore("imap");
        store.connect("127.0.0.1", Integer.parseInt(arguments[0]), arguments[1], "secret");
        for (Folder each : store.getDefaultFolder().list("*")) say("mailbox", each.getFullName());

        IMAPFolder inbox = (IMAPFolder) store.getFolder("INBOX");
        inbox.open(Folder.READ_WRITE);
        FetchProfile profile = new FetchProfile();
        profile.add(FetchProfile.Item.ENVELOPE);
        profile.add(FetchProfile.Item.CONTENT_INFO);
        profile.add(FetchProfile.Item.FLAGS);
        profile.add(UIDFolder.FetchProfileItem.UID);
        inbox.fetch(inbox.getMessages(), profile);
        for (Message message : inbox.getMessages()) {
            ByteArrayOutputStream octets = new ByteArrayOutputStream();
            try (var stream = ((IMAPMessage) message).getMimeStream()) {
                stream.transferTo(octets);
            }
            if (message.getSize() != octets.size()) throw new AssertionError("size " + message.getSize());
            say("message", inbox.getUID(message), flags(message), HexFormat.of().formatHex(octets.toByteArray()));
        }
        StringBuilder found = new StringBuilder("found");
        FlagTerm undraft = new FlagTerm(new Flags(Flags.Flag.DRAFT), false);
        for (Message message : inbox.search(new AndTerm(new SubjectTerm("letter 3"), undraft)))
            found.append("\t").append(inbox.getUID(message));
        say(found);

        IMAPFolder made = (IMAPFolder) store.getFolder("Entwürfe/Neue & alte");
        if (!made.create(Folder.HOLDS_MESSAGES)) throw new AssertionError("not created");
        MimeMessage appended =
                new MimeMessage(session, new ByteArrayInputStream(Files.readAllBytes(Path.of(arguments[2])))) {
                    @Override
                    public Date getReceivedDate() {
                        return Date.from(Instant.parse("2020-02-29T07:04:56Z"));
                    }
                };
        Flags flags = new Flags("$Errand");
        flags.add(Flags.Flag.DRAFT);
        appended.setFlags(flags, true);
        AppendUID[] uids = made.appendUIDMessages(new Message[] {appended});
        if (uids[0] == null) throw new AssertionError("no APPENDUID");
        inbox.getMessageByUID(1).setFlag(Flags.Flag.FLAGGED, true);
        inbox.getMessageByUID(2).setFlag(Flags.Flag.SEEN, false);
        inbox.getMessageByUID(3).setFlags(new Flags("$Errand"), true);
        inbox.getMessageByUID(4).setFlag(Flags.Flag.ANSWERED, true);
        inbox.copyMessages(inbox.getMessagesByUID(3, 4), made);
        Message moved = inbox.getMessageByUID(5);
        inbox.moveMessages(new Message[] {moved}, made);
        Message last = inbox.getMessageByUID(6);
        last.setFlag(Flags.Flag.DELETED, true);
        // the library numbers its messages as before until it is told to forget those that are gone
        if (inbox.expunge(new Message[] {moved, last}).length != 2) throw new AssertionError("not expunged");

        LinkedBlockingQueue<Message> came = new LinkedBlockingQueue<>();
        inbox.addMessageCountListener(new MessageCountAdapter() {
            @Override
            public void messagesAdded(MessageCountEvent event) {
                came.add(event.getMessages()[0]);
            }
        });
        Thread idle = new Thread(() -> {
            try {
                say("idling");
                inbox.idle(true);
            } catch (Exception error) {
                error.printStackTrace();
            }
        });
        idle.start();
        Message message = came.poll(30, TimeUnit.SECONDS);
        if (message == null) throw new AssertionError("nothing came");
        say("woken", message.getSubject());
        idle.join();
        inbox.close(false);
        store.close();
        say("done");
    }
}
