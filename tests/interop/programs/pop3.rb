# POP3 with Ruby's net/pop. Arguments: port, "plain" or "tls", the file with the server's certificate, user. Prints what
# README.md says of POP3, and marks the first message as deleted.
require 'net/pop'

port, tls, ca, user = ARGV
pop = Net::POP3.new('127.0.0.1', port.to_i)
pop.enable_ssl(OpenSSL::SSL::VERIFY_PEER, ca) if tls == 'tls'
pop.start(user, 'secret')
puts "count\t#{pop.n_mails}"
pop.each_mail do |mail|
  puts ['message', mail.number, mail.length, mail.unique_id, mail.pop.unpack1('H*')].join("\t")
end
puts "top\t#{pop.mails.last.top(0).lines.size}"
pop.mails.first.delete
pop.finish
puts 'done'
