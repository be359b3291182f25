# superctl, the app `shop` and its release. The file server has shop.toml and the bundle that the pillar names and, in a
# directory superctl, the program and the files of packaging/systemd.
#
#   salt 'web*' state.apply shop pillar='{"bundle": "shop-1.2.tar.zst"}'
/usr/bin/superctl:
  file.managed:
    - source: salt://superctl/superctl
    - mode: '0755'

/etc/systemd/system/superctl@.service:
  file.managed:
    - source: salt://superctl/superctl@.service

{% for kind in 'sysusers', 'tmpfiles' %}
/usr/lib/{{ kind }}.d/superctl.conf:
  file.managed:
    - source: salt://superctl/{{ kind }}.conf
{% endfor %}

systemd-sysusers && systemd-tmpfiles --create superctl.conf:
  cmd.run:
    - onchanges:
      - file: /usr/lib/sysusers.d/superctl.conf
      - file: /usr/lib/tmpfiles.d/superctl.conf

shop:
  user.present:
    - system: true
    - home: /srv/shop

# Which nginx must be able to enter: Debian 13 makes home directories with mode 0700.
/srv/shop:
  file.directory:
    - user: shop
    - mode: '0755'

# Which root makes and the app cannot change.
/srv/shop/releases:
  file.directory:
    - user: root

/etc/superctl:
  file.directory: []

/etc/superctl/shop.toml:
  superctl.config:
    - source: salt://shop.toml
    - template: jinja
    - require:
      - file: /etc/superctl
      - file: /usr/bin/superctl
      - user: shop

superctl@shop:
  service.running:
    - enable: true
    - require:
      - superctl: /etc/superctl/shop.toml
      - file: /etc/systemd/system/superctl@.service

# A newer program takes over without losing a request.
superctl --app shop upgrade:
  cmd.run:
    - onchanges:
      - file: /usr/bin/superctl
    - require:
      - service: superctl@shop

shop is live:
  superctl.live:
    - name: shop
    - bundle: salt://{{ pillar['bundle'] }}
    - require:
      - service: superctl@shop
